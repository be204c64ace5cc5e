"""The verbs that need torch, as a user calls them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule
from support.runs import Finished

from e3frame import __version__, kernels
from e3frame.cli import VERBS, exit_code, main
from e3frame.compose import config_folder
from e3frame.spec.layer import LayerSpec


@pytest.fixture
def ethanol(tmp_path: Path) -> Path:
    file = tmp_path / "ethanol.xyz"
    atoms = molecule("CH3CH2OH")
    ase.io.write(file, [atoms, atoms[::-1]])
    return file


def test_predict(finished: Finished, ethanol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "predicted.xyz"
    arguments = [f"model={finished.result.model}", f"path={ethanol}", f"out={out}"]
    assert main(["predict", *arguments]) == 0
    assert capsys.readouterr().out == f"wrote 2 frames to {out}\n"
    first, second = ase.io.read(out, ":")
    assert first.get_potential_energy() == pytest.approx(second.get_potential_energy(), abs=1e-3)
    np.testing.assert_allclose(first.get_forces(), second.get_forces()[::-1], atol=1e-3)
    assert main(["predict", *arguments]) == 1
    assert "exists\n  choose" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pth=a.xyz"], "command-line override pth=a.xyz  pth\n  unknown key\n  did you mean path?\n"),
        (
            ["path=a.xyz"],
            "model\n  this key is required: A trained model: its model.safetensors, the folder of its run, or "
            "runs/NAME for the newest run of that name.\n",
        ),
        (["m", "a.xyz", "b.xyz"], "command-line argument b.xyz\n  key=value is required\n"),
        (["a.safetensors", "a.xyz"], "a.safetensors\n  no such file\n"),
        (["model=m.safetensors", "path=a.xyz"], "m.safetensors\n  no such file\n"),
        (
            ["model=m", "path=a.xyz", "batch_size=0"],
            "command-line override batch_size=0  batch_size\n  must be >= 1, got 0\n",
        ),
    ],
)
def test_predict_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *arguments]) == 1
    assert capsys.readouterr().err == message


def test_evaluate(finished: Finished, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "errors.json"
    data = ["data=sample", "data.molecules=[ethanol,furan]", "data.num_train=40", f"data.cache_dir={cache}"]
    assert main(["evaluate", str(finished.result.model), *data, f"out={out}"]) == 0
    said = capsys.readouterr().out
    assert "forces" in said
    assert "on data=sample" in " ".join(said.split())
    again = json.loads(out.read_text(encoding="utf-8"))["test"]
    in_run = json.loads((finished.folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert again["forces"].pop("by_species").keys() == in_run["forces"].pop("by_species").keys() == {"H", "C", "O"}
    assert again["forces"] == pytest.approx(in_run["forces"])


def test_evaluate_mistakes(finished: Finished, cache: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "data=sample"]) == 1
    assert capsys.readouterr().err == "one model=FILE is required: the model.safetensors of a run\n"
    model = f"model={finished.result.model}"
    assert main(["evaluate", model]) == 1
    assert capsys.readouterr().err.startswith("data=... is required: a file, such as data=test.xyz, or a data config")
    assert main(["evaluate", model, "data=sample", "split=tst"]) == 1
    expected = "command-line override split=tst  split\n  must be one of train, val, test, all; got tst\n"
    assert capsys.readouterr().err == expected + "  did you mean test?\n"
    assert main(["evaluate", model, "data=sample", f"data.cache_dir={cache}"]) == 1
    assert "the model does not know N" in capsys.readouterr().err


def test_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{kind} " in listed for kind in LayerSpec.members)
    assert main(["layers", "gate"]) == 0
    assert "example  {kind: gate" in capsys.readouterr().out
    assert main(["layers", "gat"]) == 1
    assert capsys.readouterr().err == "no layer kind is named gat\n  did you mean gate?\n"


def test_info(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("E3FRAME_CACHE", str(tmp_path))
    assert main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["e3frame"].strip() == __version__
    assert lines["torch"].startswith(torch.__version__)
    assert lines["kernels"].strip() == kernels.backend()
    assert {name: lines[name].strip() for name in kernels.statuses()} == kernels.statuses()
    assert lines["cache"].strip() == str(tmp_path)
    assert "tblite" in lines
    assert "pytest" not in lines


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("reference", "reference, as E3FRAME_BACKEND says"),
        ("fast", "must be one of auto, native, cuequivariance, reference; got 'fast'"),
    ],
)
def test_info_of_a_chosen_backend(
    value: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("E3FRAME_BACKEND", value)
    assert main(["info"]) == (value == "fast")
    assert expected in "".join(capsys.readouterr())


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"train"}))
def test_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([verb, "--help"])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 0
    assert capsys.readouterr().out.startswith("usage: e3frame " + verb)


@pytest.mark.parametrize("script", ["train", "sweep", "evaluate", "predict"])
def test_scripts_show_help(script: str) -> None:
    file = config_folder().parent / "scripts" / f"{script}.py"
    done = subprocess.run([sys.executable, str(file), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "model" in done.stdout


def test_train_from_the_command_line(cache: str, tmp_path: Path) -> None:
    """As a user does: overrides, a run folder, a table at the end, then a mistake."""
    script = config_folder().parent / "scripts" / "train.py"
    arguments = ["experiment=smoke", "model=tfn", "trainer.max_epochs=1", f"data.cache_dir={cache}", "name=mine"]
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs" / "mine").iterdir()
    names = {path.name for path in folder.iterdir()}
    figures = {"learning_curve.png", "parity_energy.png", "parity_forces.png"}
    results = {"config.yaml", "checkpoints", "metrics.csv", "metrics.json", "model.safetensors", "report.html"}
    assert names == figures | results
    assert "errors on the test frames" in done.stdout
    assert "\n1 epoch in " in done.stdout
    wrong = [*command, "model.layers.mix1.irreps_out=8x3e"]
    done = subprocess.run(wrong, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "command-line override model.layers.mix1.irreps_out=8x3e  model.layers.mix1.irreps_out"
    )
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "runs" / "mine").iterdir())) == 1


def test_all_frames_of_a_file_are_evaluated(
    finished: Finished, ethanol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where they are too few to be divided."""
    model, labelled, out = finished.result.model, tmp_path / "labelled.xyz", tmp_path / "errors.json"
    assert main(["predict", f"model={model}", f"path={ethanol}", f"out={labelled}"]) == 0
    assert main(["evaluate", f"model={model}", "data=xyz", f"data.path={labelled}", "split=all", f"out={out}"]) == 0
    errors = json.loads(out.read_text())
    assert set(errors) == {"all"}
    assert errors["all"]["frames"] == 2
    assert errors["all"]["forces"]["mae"] < 0.1
    capsys.readouterr()


def test_which_frames_of_a_file_are_evaluated(
    finished: Finished, ethanol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All, unless the user divides them; it is said, and more so where the model has learned some of them."""
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    model, labelled = folder / "model.safetensors", tmp_path / "labelled.xyz"
    model.write_bytes(finished.result.model.read_bytes())
    assert main(["predict", f"model={model}", f"path={ethanol}", f"out={labelled}"]) == 0
    capsys.readouterr()

    def evaluated(*more: str) -> tuple[dict[str, int], str]:
        out, cache = tmp_path / "errors.json", f"data.cache_dir={tmp_path}"
        assert main(["evaluate", f"model={folder}", cache, f"out={out}", "overwrite=true", *more]) == 0
        return {name: each["frames"] for name, each in json.loads(out.read_text()).items()}, capsys.readouterr().out

    for data in (["data=xyz", f"data.path={labelled}"], [f"data={labelled}"]):
        frames, said = evaluated(*data)
        assert frames == {"all": 2}
        assert "evaluating all frames; split=test evaluates only the test frames of data.split\n" in said
    divided = [f"data={labelled}", "data.split.train=1", "data.split.val=0", "data.split.test=1"]
    frames, said = evaluated(*divided)
    assert frames == {"test": 1}
    assert "test: 1 of 2 frames; split=all uses all\n" in said
    assert evaluated(f"data={labelled}", f"data.test_path={labelled}", "data.split.val=0")[0] == {"test": 2}
    frames, _ = evaluated(f"data={labelled}", f"data.test_path={labelled}", "data.split.val=0", "split=all")
    assert frames == {"train": 2, "test": 2}
    held = {"bytes": labelled.stat().st_size, "blake2b": hashlib.blake2b(labelled.read_bytes()).hexdigest()}
    (folder / "data.json").write_text(json.dumps({"elsewhere.xyz": held}))
    for more in ([], ["split=all"]):
        assert (
            f"the model was trained on frames of {labelled}; split=test evaluates"
            in evaluated(f"data={labelled}", *more)[1]
        )
    assert main(["evaluate", f"model={folder}", f"data={labelled}", "split=test"]) == 1
    assert capsys.readouterr().err == (
        f"{labelled}\n  the split leaves no frame for training: rest (train) + 1 (val) + 1 (test) of 2 frames\n"
        "  split=all uses all frames, undivided\n"
    )


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    assert exit_code(interrupted, []) == 130
    assert capsys.readouterr().err == "interrupted\n"
