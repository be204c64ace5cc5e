"""Damaged model files, given to everything that reads a model."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import torch
from ase import Atoms
from ase.io import write
from fuzz._wrong_models import CHANGES, MODEL, State
from support.fuzzing import Area, Case, Outcome

from e3frame.cli import main
from e3frame.config.targets import TaskSpec
from e3frame.evaluate.evaluation import evaluate
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.saved import load_model, save_model
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.errors import UserError
from e3frame.spec.validate import validate

TASK: dict[str, Any] = {
    "targets": {
        "energy": {"irreps": "0e", "per": "graph", "per_atom": True},
        "forces": {"derive": "negative_gradient", "of": "energy", "loss": "huber", "weight": {"0": 1.0, "3": 10.0}},
    }
}
CANARY = "import os\nopen(os.environ['FUZZ_CANARY'], 'w').close()\n"


def prepare(folder: Path) -> State:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = validate(ModelSpec, MODEL)
    model = save_model(Model(spec), folder / "model.safetensors", validate(TaskSpec, TASK))
    content = model.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    (folder / "fuzz_canary.py").write_text(CANARY)
    sys.path.insert(0, str(folder))
    os.environ["FUZZ_CANARY"] = str(folder / "ran")
    frames = []
    for k in range(4):
        atoms = Atoms("OHH", [[0, 0, 0.1 * k], [0, 0.8, 0.6], [0, -0.8, 0.6]])
        atoms.info["energy"] = -7.0 - k
        atoms.arrays["forces"] = atoms.positions / 10
        frames.append(atoms)
    write(folder / "frames.xyz", frames)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for name in RUNS:  # so that no case pays for what all of them import
            RUNS[name](model, folder / "frames.xyz", folder)
    return State(json.loads(content[8:end]), content[end:], model, folder / "frames.xyz", folder / "ran")


def case(state: State, rng: Random, number: int, folder: Path) -> Case:
    change = rng.choice(list(CHANGES))
    path = folder / "model.safetensors"
    what = CHANGES[change](state, rng, path)
    run = rng.choice(list(RUNS))
    return Case(f"{change} {what or ''} -> {run}", lambda: _told(RUNS[run], path, state.frames, folder), _safe(state))


def _told(run: Callable[[Path, Path, Path], int], path: Path, frames: Path, folder: Path) -> int:
    try:
        return run(path, frames, folder)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1


def _safe(state: State) -> Callable[[Outcome], str | None]:
    def verdict(outcome: Outcome) -> str | None:
        if state.canary.exists():
            state.canary.unlink()
            return "code of the file was run"
        said = outcome.output  # a calculator says of atoms in memory that what it predicts is not finite
        if outcome.code and "model.safetensors" not in said and " is not finite" not in said:
            return "the message does not name the file"
        return None

    return verdict


# What is done with the file.


def _info(path: Path, frames: Path, folder: Path) -> int:
    return main(["info", str(path)])


def _predict(path: Path, frames: Path, folder: Path) -> int:
    out = folder / f"out{os.getpid()}.xyz"
    return main(["predict", f"model={path}", f"path={frames}", f"out={out}", "overwrite=true"])


def _evaluate(path: Path, frames: Path, folder: Path) -> int:
    from e3frame.data.sources.base import parse_data

    raw = {"kind": "xyz", "path": str(frames), "cache_dir": str(folder), "split": {"val": 0, "test": 0}, "processes": 1}
    evaluate(path, parse_data(raw), split="train")
    return 0


def _check(path: Path, frames: Path, folder: Path) -> int:
    return main(["check", f"init.model={path}", "model=nequip", "data=sample", "--no-data"]) and 1


def _calculate(path: Path, frames: Path, folder: Path) -> int:
    atoms = Atoms("OHH", [[0, 0, 0], [0, 0.8, 0.6], [0, -0.8, 0.6]], cell=[4, 4, 4], pbc=True)
    for dtype in (None, "float64"):
        atoms.calc = E3FrameCalculator(path, dtype=dtype)
        values = [atoms.get_potential_energy(), *atoms.get_forces().flatten(), *atoms.get_stress()]
        assert all(abs(value) < float("inf") for value in values)
    load_model(path)
    return 0


RUNS: dict[str, Callable[[Path, Path, Path], int]] = {
    "info": _info,
    "predict": _predict,
    "evaluate": _evaluate,
    "init": _check,
    "calculator": _calculate,
}


AREA = Area("models", prepare, case, placed=False)
