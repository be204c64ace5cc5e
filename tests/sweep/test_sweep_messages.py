"""Mistakes in a search or a grid, each told before anything is trained, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from e3frame.cli import main
from e3frame.compose import config_folder

SPACE = """\
name: mine
overrides:
  - experiment=smoke
  - model=nequip_small
space:
  optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}
  model.irreps.hidden: {irreps: {mul: [4, 8], l_max: [0, 1]}}
objectives: [val_forces_mae]
"""
CASES = {
    "unknown leaf": (
        ("  optimizer.lr:", "  optimizer.lrr:"),
        "mine/sweep/mine.yaml:6:3  sweep.space.optimizer.lrr\n  unknown key\n  did you mean lr?",
    ),
    "unknown group": (
        ("  optimizer.lr:", "  optimiser.lr:"),
        "mine/sweep/mine.yaml:6:3  sweep.space.optimiser.lr\n"
        "  optimiser: this key does not exist\n  did you mean optimizer?",
    ),
    "unknown layer": (
        ("  optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}", "  model.layers.radia.basis: [bessel]"),
        "mine/sweep/mine.yaml:6:3  sweep.space.model.layers.radia.basis\n"
        "  model.layers.radia: this key does not exist\n  did you mean radial?",
    ),
    "a value the key never takes": (
        ("  optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}", "  model.layers.radial.basis: [bessel, gausian]"),
        "mine/sweep/mine.yaml:6:30  sweep.space.model.layers.radial.basis\n"
        "  must be one of bessel, chebyshev, constant, gaussian; got gausian\n  did you mean gaussian?",
    ),
    "a range beyond the key's": (
        ("low: 1.0e-3, high: 1.0e-1, log: true", "low: -1, high: 1"),
        "mine/sweep/mine.yaml:6:17  sweep.space.optimizer.lr\n  must be > 0, got -1",
    ),
    "a range without a low": (
        ("low: 1.0e-3, ", ""),
        "mine/sweep/mine.yaml:6:17  sweep.space.optimizer.lr.low\n  this key is required: The smallest value.",
    ),
    "a range the wrong way": (
        ("low: 1.0e-3, high: 1.0e-1", "low: 0.1, high: 0.01"),
        "mine/sweep/mine.yaml:6:34  sweep.space.optimizer.lr.high\n  must be > low = 0.1, got 0.01",
    ),
    "a logarithm of zero": (
        ("low: 1.0e-3", "low: 0.0"),
        "mine/sweep/mine.yaml:6:23  sweep.space.optimizer.lr.low\n  must be > 0 with log: true, got 0",
    ),
    "a misspelt form": (
        ("{low: 1.0e-3, high: 1.0e-1, log: true}", "{choice: [1.0]}"),
        "mine/sweep/mine.yaml:6:18  sweep.space.optimizer.lr.choice\n  unknown key\n  did you mean choices?",
    ),
    "no values": (
        ("{low: 1.0e-3, high: 1.0e-1, log: true}", "0.1"),
        "mine/sweep/mine.yaml:6:17  sweep.space.optimizer.lr\n  expected values to choose from, got 0.1\n"
        "  [a, b], {low: 1, high: 4}, {low: 1e-3, high: 1e-1, log: true} or {irreps: {mul: [8, 16], l_max: [1, 2]}}",
    ),
    "the same twice": (
        ("{low: 1.0e-3, high: 1.0e-1, log: true}", "[0.1, 0.2, 0.1]"),
        "mine/sweep/mine.yaml:6:17  sweep.space.optimizer.lr\n  0.1 is listed twice",
    ),
    "irreps without l": (
        (", l_max: [0, 1]", ""),
        "mine/sweep/mine.yaml:7:33  sweep.space.model.irreps.hidden.irreps.l_max\n"
        "  this key is required: Largest degrees l to choose from.",
    ),
    "an objective nobody measures": (
        ("[val_forces_mae]", "[val_force_mae]"),
        "mine/sweep/mine.yaml:8:14  sweep.objectives.0\n  no objective is named val_force_mae\n"
        "  did you mean val_forces_mae?",
    ),
    "pruning by a cost": (
        ("[val_forces_mae]", "[step_ms]\npruner: {kind: median}"),
        "mine/sweep/mine.yaml:9:9  sweep.pruner\n"
        "  the pruner uses the first objective, but step_ms is constant during a run\n"
        "  put an error first, or set sweep.pruner.kind=none",
    ),
    "an unknown pruner": (
        ("[val_forces_mae]", "[val_loss]\npruner: {kind: hyperbant}"),
        "mine/sweep/mine.yaml:9:16  sweep.pruner.kind\n  no pruner is named hyperbant\n  did you mean hyperband?",
    ),
    "no end": (
        ("[val_forces_mae]", "[val_loss]\ntrials: null"),
        "mine/sweep/mine.yaml:1:1  sweep\n  the search has no end\n  set trials or hours",
    ),
    "an ill-typed base": (
        ("model=nequip_small", "model.layers.first_conv.irreps_out=8x3o"),
        "mine/sweep/mine.yaml:4:5  model.layers.first_conv.irreps_out\n"
        "  8x3o is out of reach: 'species' (32x0e) ⊗ 'edge_sh' (1x0e+1x1o+1x2e) gives 0e, 1o, 2e\n",
    ),
    "a group with a range": (
        ("  optimizer.lr:", "  optimizer:"),
        "mine/sweep/mine.yaml:6:14  sweep.space.optimizer\n"
        "  'optimizer' is a config group: a list of names is required",
    ),
    "an unknown choice of a group": (
        ("  optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}", "  optimizer: [adam, adamv]"),
        "mine/sweep/mine.yaml:6:21  sweep.space.optimizer.1\n  there is no optimizer config named adamv\n"
        "  did you mean adam?",
    ),
}


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = Path("mine/sweep/mine.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(SPACE, encoding="utf-8")
    return file


@pytest.mark.parametrize("case", CASES)
def test_wrong_space(case: str, space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old, new), message = CASES[case]
    assert old in SPACE
    space.write_text(SPACE.replace(old, new, 1), encoding="utf-8")
    assert main(["sweep", "--config-dir", "mine", "sweep=mine"]) == 1
    output = capsys.readouterr()
    assert output.err.rstrip() == message.rstrip()
    assert output.out == ""
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["sweep=min"],
            "command-line override sweep=min  sweep\n  there is no sweep config named min\n  did you mean mine?",
        ),
        ([], "sweep=NAME is required\n  searches: mine, sample"),
        (
            ["sweep=mine", "sweep.trails=3"],
            "command-line override sweep.trails=3  sweep.trails\n  unknown key\n  did you mean trials?",
        ),
        (
            ["sweep=mine", "trainer.max_epoch=3"],
            "command-line override trainer.max_epoch=3  trainer.max_epoch\n  unknown key\n  did you mean max_epochs?",
        ),
        (
            ["sweep=mine", "sweep.storage=nowhere://x"],
            "sweep.storage: unknown kind of database: nowhere\n  kinds: sqlite, postgresql, mysql",
        ),
    ],
)
def test_wrong_command(overrides: list[str], message: str, space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--config-dir", "mine", *overrides]) == 1
    assert capsys.readouterr().err.rstrip() == message


def test_a_search_is_not_trained(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("train", "check"):
        assert main([verb, "sweep=sample"]) == 1
        assert capsys.readouterr().err == "command-line override sweep=sample\n  only e3frame sweep runs a search\n"


def test_without_optuna(space: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["sweep", "--config-dir", "mine", "sweep=mine"]) == 1
    assert capsys.readouterr().err == "a search needs Optuna\n  pip install optuna\n"


GRID = ["-m", "experiment=smoke", "model.irreps.hidden=8x0e+8x1o,8x0e+8x3o", "optimizer.lr=1e-3,-1"]
ILL_TYPED = """\
3 of 4 points are ill-typed

model.irreps.hidden=8x0e+8x1o optimizer.lr=-1
  command-line override optimizer.lr=-1  optimizer.lr
    must be > 0, got -1

model.irreps.hidden=8x0e+8x3o optimizer.lr=0.001
  {nequip}:12:47  model.layers.first_conv.irreps_out
    8x3o is out of reach: 'species' (32x0e) ⊗ 'edge_sh' (1x0e+1x1o+1x2e) gives 0e, 1o, 2e

model.irreps.hidden=8x0e+8x3o optimizer.lr=-1
  command-line override optimizer.lr=-1  optimizer.lr
    must be > 0, got -1
"""
GRID_CODE = (
    "import sys; from e3frame.cli import main\n"
    "try: code = main(['train', *sys.argv[1:]])\n"
    "except SystemExit as error: code = error.code\n"
    "heavy = {'torch', 'lightning', 'ase'} & set(sys.modules)\n"
    "sys.exit(f'imported {heavy}' if heavy else code)"
)


def _grid(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", GRID_CODE, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_grid_with_ill_typed_points_is_refused_without_torch(tmp_path: Path) -> None:
    done = _grid(GRID, tmp_path)
    expected = ILL_TYPED.format(nequip=config_folder() / "model" / "nequip.yaml")
    assert done.stderr == expected + "\nset hydra.sweeper.ill_typed=skip to run the others\n"
    assert done.returncode == 1
    assert not (tmp_path / "runs").exists()


def test_a_hundred_points_are_checked_in_seconds(tmp_path: Path) -> None:
    lrs = ",".join(f"{k}e-4" for k in range(1, 50))
    done = _grid(["-m", "experiment=smoke", f"optimizer.lr={lrs},-1", "model.r_max=4.0,5.0"], tmp_path)
    assert done.stderr.startswith("2 of 100 points are ill-typed\n")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model=neqip",
            "command-line override model=neqip  model\n  there is no model config named neqip\n"
            "  did you mean nequip?\n",
        ),
        (
            "name=a(",
            "command-line override name=a(\n  this override cannot be parsed\n"
            "  put a value with any of ()[]{},:=~ in quotes: 'key=\"value\"'\n",
        ),
        ("sweep=sample", "command-line override sweep=sample\n  only e3frame sweep runs a search\n"),
    ],
)
def test_what_a_grid_has_in_common(override: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", override, "optimizer.lr=1e-3,3e-3"]) == 1
    assert capsys.readouterr().err == message


def test_a_wrong_flag(tmp_path: Path) -> None:
    done = _grid(["-m", "hydra.sweeper.ill_typed=skp", "optimizer.lr=1e-3,3e-3"], tmp_path)
    assert done.stderr == "hydra.sweeper.ill_typed\n  must be one of refuse, skip; got skp\n  did you mean skip?\n"
    assert done.returncode == 1


def test_skipping_runs_the_others(cache: str, tmp_path: Path) -> None:
    more = ["trainer.max_epochs=1", "trainer.max_steps=1", f"data.cache_dir={cache}", "name=grid"]
    script = config_folder().parent / "scripts" / "train.py"
    command = [sys.executable, str(script), *GRID, *more, "hydra.sweeper.ill_typed=skip"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("\nrunning the others\n")
    (folder,) = (tmp_path / "runs" / "grid").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["0", "multirun.yaml"]
    assert "lr: 0.001\n" in (folder / "0" / "config.yaml").read_text(encoding="utf-8")
