"""What people type in place of overrides: files, folders, bare names, names of other codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3frame.cli import main
from e3frame.cli.shorthand import beginning, expanded, read_run
from e3frame.compose import choices, config_folder, from_overrides, load_run, typed_run
from e3frame.config.run import RunConfig
from e3frame.spec.errors import UserError, dotted
from e3frame.spec.foreign import FOREIGN, ours

NEQUIP = (config_folder() / "model" / "nequip_small.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _written(path: str, text: str = NEQUIP) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "path",
    ["mine.yaml", "./mine.yaml", "sub/mine.v2.yaml", "../{here}/mine.yaml", "with space/my model.yaml", "{abs}/a.yaml"],
)
def test_a_file_of_a_group_by_its_path(path: str, tmp_path: Path) -> None:
    path = path.format(here=tmp_path.name, abs=tmp_path)
    file = _written(path, NEQUIP.replace("r_max: 4.0", "r_max: 3.25"))
    assert "r_max: 3.25" in file.read_text(encoding="utf-8")
    config = load_run(expanded([f"model={path}", "trainer.max_epochs=2"])).config
    assert config.model.r_max == 3.25
    assert config.trainer.max_epochs == 2


def test_a_file_is_the_same_one_with_a_folder_of_configs() -> None:
    """Whatever lies at the same place seen from the other folder."""
    _written("a/mine.yaml", NEQUIP.replace("r_max: 4.0", "r_max: 3.5"))
    _written("b/c/model/spare.yaml")
    assert load_run(expanded(["model=a/mine.yaml"], "b/c"), "b/c").config.model.r_max == 3.5


def test_a_mistake_in_such_a_file_has_its_place() -> None:
    _written("mine.yaml", NEQUIP.replace("kind: gate", "kind: gaet", 1))
    line = next(n for n, text in enumerate(Path("mine.yaml").read_text().splitlines(), 1) if "gaet" in text)
    with pytest.raises(UserError, match=rf"^mine\.yaml:{line}:\d+  model\.layers\..*kind"):
        load_run(expanded(["model=mine.yaml"]))


@pytest.mark.parametrize(
    ("typed", "kind", "path"),
    [
        ("data=md.xyz", "xyz", ("md.xyz",)),
        ("data=sub/md.extxyz", "xyz", ("sub/md.extxyz",)),
        ("data=/a b/md.traj", "xyz", ("/a b/md.traj",)),
        ("data=frames.db", "ase_db", ("frames.db",)),
        ("data=*.xyz", "xyz", ("*.xyz",)),
    ],
)
def test_a_file_of_data(typed: str, kind: str, path: tuple[str, ...]) -> None:
    config = load_run(expanded([typed])).config
    assert (config.data.kind, config.data.path) == (kind, path)


def test_a_grid_of_files() -> None:
    _written("a.yaml")
    _written("b.yaml")
    (override,) = expanded(["model=a.yaml,b.yaml,tfn"])
    values = override.removeprefix("model=").split(",")
    assert [Path(value).name for value in values] == ["a", "b", "tfn"]
    assert expanded(["data=a.xyz,b.xyz"]) == ["data=xyz", "data.path=a.xyz,b.xyz"]


def test_what_is_an_override_already_stays() -> None:
    overrides = ["model=nequip", "~data.keys.forces", "+data.keys.q=Q", "data={kind: sample}", "hydra.run.dir=a/b.c"]
    assert expanded(overrides) == overrides


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "model=nope.yaml",
            "command-line override model=nope.yaml  model\n  the file nope.yaml does not exist\n  configs: allegro, ",
        ),
        (
            "model=nequp.yaml",
            "model=nequp.yaml  model\n  the file nequp.yaml does not exist\n  did you mean model=nequip?",
        ),
        ("model=mine.yml", "model=mine.yml  model\n  the file name must end in .yaml, got mine.yml"),
        (
            "optimizer=adam.py",
            "optimizer\n  expected a YAML file or the name of a config, got adam.py\n  configs: adam, adamw",
        ),
        ("data=a.xyz,b.db", "data\n  all files must be of one kind, got a.xyz,b.db"),
        ("nequip", "command-line override nequip\n  key=value is required\n  did you mean model=nequip?"),
        ("md.xyz", "command-line override md.xyz\n  key=value is required\n  did you mean data=md.xyz?"),
        (
            "frobnicate",
            "override frobnicate\n  key=value is required\n  such as model=nequip or trainer",
        ),
        (
            "mine.yaml",
            "override mine.yaml\n  key=value is required\n  put a run folder or a config file first",
        ),
    ],
)
def test_what_cannot_be_understood(typed: str, message: str) -> None:
    _written("mine.yml")
    with pytest.raises(UserError) as caught:
        expanded(["seed=1", typed])
    assert message in str(caught.value)


@pytest.fixture
def run_folder() -> Path:
    """A folder as a run leaves it, as far as its config goes."""
    import yaml

    config = load_run(["model=nequip_small", "trainer.max_epochs=5"]).config
    return _written("runs/mine/config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)).parent


def test_a_run_with_other_values(run_folder: Path) -> None:
    for start in (run_folder, run_folder / "config.yaml"):
        assert beginning([str(start), "trainer.max_epochs=12"]) == (start, ["trainer.max_epochs=12"])
        typed = typed_run(read_run(start, ["trainer.max_epochs=12", "name=longer"]))
        assert (typed.config.trainer.max_epochs, typed.config.name) == (12, "longer")
        assert typed_run(read_run(start)).config.trainer.max_epochs == 5
    assert beginning(["trainer.max_epochs=12"]) == (None, ["trainer.max_epochs=12"])


def test_the_newest_run_of_a_name(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In every verb that takes a run, and nothing else for a folder that holds none."""
    content = (run_folder / "config.yaml").read_text()
    name = run_folder.parent / "water"
    old, new = (
        _written(f"{name}/{date}/config.yaml", content) for date in ("2025-12-31_00-00-00", "2026-01-01_00-00-00")
    )
    _written(f"{name}/notes/todo.txt")
    assert beginning([str(name), "seed=1"]) == (new.parent, ["seed=1"])
    assert beginning([f"{name}/"]) == (new.parent, [])
    old.write_text("seed: x\n")
    assert main(["check", str(name), "--no-data"]) == 0
    assert main(["check", str(old.parent)]) == 1
    finished = f"{new.parent} has no metrics.json\n  give the folder of a finished run\n"
    capsys.readouterr()
    assert main(["draw", "errors", str(name), "-o", "new.png"]) == 1
    assert capsys.readouterr().err == finished
    _written(f"{run_folder.parent}/empty/notes/todo.txt")
    for command in (["check"], ["train"], ["draw", "errors"]):
        assert main([*command, f"{run_folder.parent}/empty"]) == 1
        assert capsys.readouterr().err == f"{run_folder.parent}/empty\n  this folder contains no run\n"
    _written(f"{run_folder.parent}/bare/model.safetensors")
    for verb in ("check", "train"):
        assert main([verb, f"{run_folder.parent}/bare"]) == 1
        problem = f"{run_folder.parent}/bare\n  this folder has no config.yaml, so it is not a run\n"
        assert capsys.readouterr().err == problem
    _written(f"{name}/multirun.yaml")
    for command in (["check"], ["train"], ["draw", "errors"]):
        assert main([*command, str(name)]) == 1
        problem = f"{name}\n  a grid of 2 runs\n  choose one of them: {old.parent}, {new.parent}\n"
        assert capsys.readouterr().err == problem


def test_a_run_that_is_not_there(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (run_folder / "config.yaml").read_text()
    dated = [_written(f"runs/first/2026-01-0{day}_00-00-00/config.yaml", text).parent for day in (2, 3, 1)]
    assert beginning(["runs/first", "seed=1"]) == (dated[1], ["seed=1"])
    for verb in ("check", "train"):
        for wrong, hint in (("runs/frist", "  did you mean runs/first?\n"), ("elsewhere/mine", "")):
            assert main([verb, wrong, "trainer.max_epochs=12"]) == 1
            assert capsys.readouterr().err == f"{wrong}\n  no such file\n{hint}"
    assert main(["check", "seed=1", "runs/frist"]) == 1
    assert capsys.readouterr().err.endswith("put a run folder or a config file first, before all overrides\n")


def test_a_home_folder_in_any_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    home = str(tmp_path / "my home")
    overrides = ["data=~/a.xyz", "folder=~/runs/b", "ckpt=~/c d.safetensors", "data.val_path=[~/e.xyz,~/f.xyz]"]
    config = load_run(expanded(overrides)).config
    assert (config.folder, config.ckpt) == (f"{home}/runs/b", f"{home}/c d.safetensors")
    assert config.data.path in ((f"{home}/a.xyz",), ("~/a.xyz",))
    assert [Path(path).expanduser() for path in config.data.val_path] == [Path(f"{home}/{x}.xyz") for x in "ef"]
    assert load_run(["folder='~/runs/b'"]).config.folder == f"{home}/runs/b"
    assert from_overrides(["path=~/a.xyz", "paths=[a,~/b]"]).raw == {
        "path": f"{home}/a.xyz",
        "paths": ["a", f"{home}/b"],
    }
    with pytest.raises(UserError, match=r"^command-line override b=c~d\n  this override cannot be parsed\n  put"):
        from_overrides(["a=1", "b=c~d"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer.max_epoch=3"],
            "command-line override trainer.max_epoch=3  trainer.max_epoch\n  unknown key\n  did you",
        ),
        (
            ["task=energy"],
            "command-line override task=energy\n  a composed config has no groups to choose from; only key=value",
        ),
        (["~seed"], "command-line override ~seed\n  a composed config has no groups to choose from; only key=value"),
        (
            ["energy"],
            "command-line override energy\n  key=value is required\n  did you mean model=energy or task=energy?",
        ),
    ],
)
def test_wrong_values_of_a_run(run_folder: Path, overrides: list[str], message: str, capsys) -> None:
    for verb in ("check", "train"):
        assert main([verb, str(run_folder), *overrides]) == 1
        assert capsys.readouterr().err.startswith(message)


def test_a_model_file_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    _written("mine.yaml")
    assert main(["train", "mine.yaml", "data=sample"]) == 1
    assert capsys.readouterr().err == (
        "mine.yaml\n  this is a model file, not a run config\n  write model=mine.yaml data=...\n"
    )
    Path("empty").mkdir()
    assert main(["train", "empty"]) == 1
    assert capsys.readouterr().err == "empty\n  this folder contains no run\n"


def test_names_of_other_codes_are_keys_of_ours() -> None:
    """Each hint is an override that is valid, or a key that a run has or may be given."""
    files = load_run(["data=xyz", "data.path=a.xyz", "data.keys.stress=s", "task=energy_forces_stress"])
    runs = [files.config, load_run(["scheduler=plateau", "optimizer=adam"]).config]
    held = {path for run in runs for path in _paths(run.model_dump(mode="json"))}
    for key in set(FOREIGN.values()):
        group, equals, choice = key.partition("=")
        known = key == "ckpt=last" or choice in choices(None)[group] if equals else key in held
        assert known or key in ("init.model", "data.keys.virial", "data.keys.dipole"), key


def _paths(raw: object, prefix: str = "") -> Iterator[str]:
    for name, value in raw.items() if isinstance(raw, dict) else ():
        yield f"{prefix}{name}"
        yield from _paths(value, f"{prefix}{name}.")


@pytest.mark.parametrize("name", ["hidden_irreps", "num_layers", "default_dtype", "E0s", "max_num_epochs", "l_max"])
def test_a_name_of_another_code(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--no-data", f"{name}=1"]) == 1
    expected = f"command-line override {name}=1  {name}\n  unknown key\n  did you mean {ours(name)}?\n"
    assert capsys.readouterr().err == expected
    assert main(["train", f"--{name}=1"]) == 1
    assert capsys.readouterr().err == f"--{name}\n  unknown option\n  write {ours(name)}=1\n"


def test_an_own_key_that_is_near_comes_before_another_codes() -> None:
    with pytest.raises(UserError, match=r"did you mean optimizer\.lr\?"):
        load_run(["lr=1"])
    with pytest.raises(UserError, match=r"did you mean radial_mlp\?"):
        load_run(["model.layers.first_conv.radial_MLP=[8]"])
    for name in RunConfig.model_fields:
        assert ours(name) is None, dotted((name,))


def test_a_package_that_is_not_installed(tmp_path: Path) -> None:
    """Commands that need torch say so without it; others run."""
    blocker = "import sys; sys.modules['torch'] = None; from e3frame.cli import main; sys.exit(main(sys.argv[1:]))"
    said = {}
    for arguments in (["train", "data=sample"], ["check", "--no-data", "data=sample"], ["layers"], ["info"]):
        done = subprocess.run([sys.executable, "-c", blocker, *arguments], capture_output=True, text=True, cwd=tmp_path)
        said[arguments[0]] = (done.returncode, done.stderr)
    assert said["train"] == (1, "this command needs the package torch, which is not installed\n  pip install torch\n")
    assert [said[verb] for verb in ("check", "layers")] == [(0, ""), (0, "")]
    assert said["info"][0] in (0, 1)
    assert "Traceback" not in said["info"][1]


def test_every_group_has_configs() -> None:
    found = choices(None)
    assert {"model", "data", "task", "optimizer", "scheduler", "trainer", "logger"} <= set(found)
    assert all(found.values())
