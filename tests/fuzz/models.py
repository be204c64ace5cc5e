"""Damaged model files: their headers, specs, tasks, tensors and bytes, and what else may stand under a file's name."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from ase import Atoms
from ase.io import write
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

LAYERS: dict[str, Any] = {
    "species": {"kind": "species_embedding", "irreps_out": "4x0e"},
    "edge_sh": {"kind": "spherical_harmonics", "irreps_out": "0e + 1o"},
    "radial": {"kind": "radial_basis", "num_basis": 3},
    "conv": {"kind": "convolution", "irreps_out": "gate(h)", "radial_mlp": [4], "avg_num_neighbors": 2.0},
    "gate": {"kind": "gate"},
    "more": {
        "kind": "repeat",
        "times": 1,
        "layers": {
            "norm": {"kind": "layer_norm"},
            "same": {"kind": "residual", "layers": {"act": {"kind": "activation", "of": "norm"}}},
        },
    },
    "scalars": {"kind": "linear", "of": "gate", "irreps_out": "4x0e"},
    "readout": {"kind": "mlp", "hidden": [4], "irreps_out": "0e"},
}
MODEL: dict[str, Any] = {
    "r_max": 3.0,
    "species": ["H", "O"],
    "irreps": {"h": "4x0e + 2x1o"},
    "layers": {name: layer for name, layer in LAYERS.items() if name != "more"},
    "outputs": {
        "energy": {
            "kind": "sum",
            "of": "readout",
            "per_species_scale_shift": {"scale": 2.0, "shift": {"H": -1.0, "O": -5.0}},
        },
        "forces": {"kind": "negative_gradient", "of": "energy"},
    },
}
TASK: dict[str, Any] = {
    "targets": {
        "energy": {"irreps": "0e", "per": "graph", "per_atom": True},
        "forces": {"derive": "negative_gradient", "of": "energy", "loss": "huber", "weight": {"0": 1.0, "3": 10.0}},
    }
}
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 3.5, 1e308, -1e-300, 10**9, 10**18, 10**40, "", "auto", "0e", "4x0e", "1x0e+1x1o"),
    *(
        "99x99o",
        "10000000x0e",
        "0x0e",
        "x",
        "energy",
        "readout",
        "node",
        "\x1b[31mred\x1b[0m",
        "\u202egnp.exe",
        "\ud800",
    ),
    *("a" * 5000, "../../etc/passwd", [], {}, [[]], {"": 0}, {"kind": "linear"}, {"kind": "no"}, ["H", "H"], ["H"]),
    *(list(range(50)), "fuzz_canary", ["fuzz_canary"], ["os", "fuzz_canary"], {"_target_": "os.system"}, "silu", "nan"),
    *("inf", "1e999", "yes", "gate(h)", "gate(gate(h))", {"0": 1}, "{" * 50),
)
BITS = ("F32", "F64", "I64", "BOOL", "F8_E4M3", "f32", "", None, 4)
CANARY = "import os\nopen(os.environ['FUZZ_CANARY'], 'w').close()\n"


@dataclass(frozen=True)
class State:
    header: dict[str, Any]
    data: bytes
    model: Path
    frames: Path
    canary: Path


class _Boom:
    """What a pickle can do to who opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


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


# What is done to the file.


def _written(state: State, path: Path, header: Any, data: bytes | None = None) -> None:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    path.write_bytes(len(text).to_bytes(8, "little") + text + (state.data if data is None else data))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if len(path) > 40:
        return [path]
    return [path, *(place for key, below in inner for place in _places(below, (*path, key)))]


def _mutated(raw: Any, rng: Random) -> tuple[Any, str]:
    """A value replaced, removed, doubled, renamed, or wrapped, anywhere."""
    raw = deepcopy(raw)
    place = rng.choice(_places(raw)[1:])
    inner = raw
    for key in place[:-1]:
        inner = inner[key]
    key, kind = place[-1], rng.randrange(8)
    value = rng.choice([*VALUES, rng.choice(list(LAYERS.values())), deepcopy(raw)])
    if kind == 0:
        del inner[key]
    elif kind == 1 and isinstance(inner, dict):
        name = rng.choice(["", "kind", "a b", "energy", "\x1b[2J", f"{key}s", "pos", "\ud800"])
        inner[name] = inner.pop(key)
    elif kind == 2 and isinstance(inner, dict):
        inner[rng.choice(["extra", "of", "plugins", "irreps_out", "times", "layers"])] = value
    elif kind == 3:
        for _ in range(rng.choice([1, 10, 100])):
            inner[key] = {"kind": "residual", "layers": {"a": inner[key]}} if rng.random() < 0.7 else [inner[key]]
    elif kind == 4 and isinstance(inner[key], str):
        text = list(inner[key])
        text.insert(rng.randrange(len(text) + 1), rng.choice("0 9xeo+-()[]{}\x00\x1b\u202e\"'\\"))
        inner[key] = "".join(text)
    elif kind == 5 and isinstance(inner[key], int | float) and not isinstance(inner[key], bool):
        inner[key] = rng.choice([-inner[key], inner[key] * 10**6, inner[key] + 1, inner[key] / 2, str(inner[key])])
    else:
        inner[key] = value
    return raw, ".".join(map(str, place))


def _spec(state: State, rng: Random, path: Path, key: str = "spec") -> str:
    header = deepcopy(state.header)
    raw = json.loads(header["__metadata__"][key])
    if key == "spec" and rng.random() < 0.3:
        raw["layers"] = {**LAYERS}
    where = ""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        raw, where = _mutated(raw, rng)
        if not isinstance(raw, dict) or len(_places(raw)) < 2:
            break
    header["__metadata__"][key] = json.dumps(raw)
    _written(state, path, header)
    return f"{key}.{where}"


def _task(state: State, rng: Random, path: Path) -> str:
    return _spec(state, rng, path, "task")


def _text(state: State, rng: Random, path: Path) -> str:
    header = deepcopy(state.header)
    key = rng.choice(list(header["__metadata__"]))
    bad = rng.choice(
        [
            "",
            "{",
            "[]",
            "null",
            "7",
            "2",
            "-1",
            "1e9",
            "99999999999999999999",
            "float64",
            "float16",
            "load",
            "NaN",
            "\x1b[31m",
            "[" * 20000,
            '{"a":' * 5000,
        ]
    )
    if rng.random() < 0.2:
        del header["__metadata__"][key]
    else:
        header["__metadata__"][key] = rng.choice([bad, bad, 7, None, {}, header["__metadata__"][key][:-1]])
    _written(state, path, header)
    return key


def _tensor(state: State, rng: Random, path: Path) -> str:
    header = deepcopy(state.header)
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    kind = rng.choice(["name", "dtype", "shape", "offsets", "entry", "remove", "add", "swap"])
    entry = header[name]
    if kind == "name":
        header[rng.choice(["", "x", name + ".x", "layers", "\x1b[31m", "a" * 3000, "\ud800"])] = header.pop(name)
    elif kind == "dtype":
        entry["dtype"] = rng.choice(BITS)
    elif kind == "shape":
        entry["shape"] = rng.choice(
            [
                [],
                [0],
                [-1],
                [1 << 60],
                [1 << 32, 1 << 32],
                [*reversed(entry["shape"])],
                [*entry["shape"], 1],
                None,
                "x",
                [1.5],
                [True],
                [[]],
                [1] * 10**5,
            ]
        )
    elif kind == "offsets":
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = rng.choice(
            [
                [end, begin],
                [begin, end + 4],
                [begin - 4, end],
                [0, 1 << 62],
                [0, 10**30],
                [-8, 0],
                [begin],
                [],
                None,
                [begin, end, 0],
                ["a", "b"],
                [0, 0],
            ]
        )
    elif kind == "entry":
        header[name] = rng.choice(VALUES)
    elif kind == "remove":
        del header[name]
    elif kind == "add":
        header[rng.choice(["z", "layers.z.weight"])] = {
            "dtype": "F32",
            "shape": [0],
            "data_offsets": [len(state.data)] * 2,
        }
    else:
        other = rng.choice(names)
        header[name], header[other] = header[other], header[name]
    _written(state, path, header)
    return f"{kind} of {name}"


def _header(state: State, rng: Random, path: Path) -> str:
    raw, where = _mutated(state.header, rng)
    _written(state, path, raw)
    return where


def _bytes(state: State, rng: Random, path: Path) -> str:
    content = bytearray(state.model.read_bytes())
    kind = rng.choice(["flip", "cut", "more", "noise", "length", "zeros", "number"])
    end = 8 + int.from_bytes(content[:8], "little")
    if kind == "flip":
        for _ in range(rng.choice([1, 3, 100])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "more":
        content += rng.randbytes(rng.choice([1, 8, 4096]))
    elif kind == "noise":
        content[:] = rng.randbytes(rng.choice([0, 1, 8, 9, 100, 5000]))
    elif kind == "length":
        content[:8] = rng.choice([0, 1, end, len(content), 1 << 24, 1 << 40, (1 << 64) - 1]).to_bytes(8, "little")
    elif kind == "zeros":
        begin = rng.randrange(end, len(content))
        content[begin : begin + 64] = bytes(min(64, len(content) - begin))
    else:
        begin = end + 4 * rng.randrange((len(content) - end) // 4)
        content[begin : begin + 4] = rng.choice([b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f"])
    path.write_bytes(content)
    return kind


def _other(state: State, rng: Random, path: Path) -> str:
    """Something else under the name."""
    kind = rng.choice(
        [
            "pickle",
            "torch",
            "zip",
            "tar",
            "text",
            "yaml",
            "sparse",
            "fifo",
            "device",
            "folder",
            "socket",
            "run",
            "nothing",
            "loop",
            "link",
        ]
    )
    boom = {"state_dict": _Boom(state.canary)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(boom))
    elif kind == "torch":
        torch.save(boom, path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps(boom))
    elif kind == "tar":
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("data.pkl"), io.BytesIO())
    elif kind == "text":
        path.write_text("not a model\n" * rng.choice([0, 1, 1000]))
    elif kind == "yaml":
        path.write_text(json.dumps(MODEL))
    elif kind == "sparse":
        with path.open("wb") as file:
            file.write((rng.choice([100, 1 << 39])).to_bytes(8, "little"))
            file.truncate(1 << 40)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(rng.choice(["/dev/zero", "/dev/null", "/dev/full", "/dev/tty", "/dev/stdin"]))
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        here = os.getcwd()  # the name of a socket may have a hundred letters
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as plug:
            plug.bind(path.name)
        os.chdir(here)
    elif kind == "run":
        path.mkdir()
        inner = path / rng.choice(["model.safetensors", "2026-01-01_00-00-00"])
        inner.mkdir()
        (path / "config.yaml").write_text(rng.choice(["", "a: b", "\x00"]))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "link":
        path.symlink_to("nowhere")
    return kind


CHANGES: dict[str, Callable[[State, Random, Path], str]] = {
    "spec": _spec,
    "spec again": _spec,
    "spec once more": _spec,
    "task": _task,
    "text": _text,
    "tensor": _tensor,
    "tensor again": _tensor,
    "header": _header,
    "bytes": _bytes,
    "bytes again": _bytes,
    "other": _other,
}

AREA = Area("models", prepare, case, placed=False)
