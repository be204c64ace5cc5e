"""Nothing is imported that the user did not name or install, on any road on which a file may ask for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from e3frame import ModelSpec, load_model
from e3frame.cli import main
from e3frame.compose import config_folder, load_run
from e3frame.spec.errors import UserError
from e3frame.training.checkpoint import write_checkpoint

MODEL = yaml.safe_load((config_folder() / "model" / "nequip_small.yaml").read_text(encoding="utf-8"))
RUN = load_run(["model=nequip_small", "name=first"]).config.model_dump(mode="json")
TRUST = "if you trust it: plugins=canary on the command line, plugins=['canary'] in Python"


@pytest.fixture
def received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from somebody else, in which the user stands: a module, and files that ask for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "canary", raising=False)
    asking = {**MODEL, "plugins": ["canary"]}
    run = {**RUN, "model": {**RUN["model"], "plugins": ["canary"]}}
    files = {
        "canary.py": "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass Evil:\n    pass\n",
        "model.yaml": yaml.safe_dump(asking, sort_keys=False),
        "config.yaml": yaml.safe_dump(run, sort_keys=False),
        "mine/model/asking.yaml": yaml.safe_dump(asking, sort_keys=False),
        "mine/experiment/asking.yaml": "# @package _global_\nmodel: {plugins: [canary]}\n",
        "mine/experiment/back.yaml": "# @package _global_\nhydra: {callbacks: {c: {_target_: canary.Evil}}}\n",
        "mine/experiment/logs.yaml": "# @package hydra.job_logging\nversion: 1\nformatters: {f: {(): canary.Evil}}\n",
        "mine/hydra/launcher/evil.yaml": "_target_: canary.Evil\n",
        "mine/sweep/common.yaml": "name: s\noverrides: ['model.plugins=[canary]']\nspace: {seed: [0, 1]}\n",
        "mine/sweep/space.yaml": "name: s\nspace: {model.plugins: [[canary], [canary, canary]]}\n",
    }
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    header = {"e3frame": "0.1.0", "format": "1", "dtype": "float32", "spec": json.dumps(asking)}
    save_file({"x": torch.zeros(1)}, "model.safetensors", header)
    write_checkpoint(tmp_path / "other.ckpt", {"global_step": 1}, run, done=True)
    return tmp_path


FILE = "the plugin canary is not imported: it is named by a file, not by you"
ROADS = {
    "check model.yaml": FILE,
    "check config.yaml": FILE,
    "check model=model.yaml": FILE,
    "check --config-dir mine model=asking": FILE,
    "check --config-dir mine experiment=asking": FILE,
    "check init.model=model.safetensors": "its layers need the plugin canary, which is not installed",
    "check --config-dir mine experiment=back": "a file may not decide what is run",
    "check --config-dir mine experiment=logs": "a file may not decide what is run",
    "check --config-dir mine hydra/launcher=evil": "a file may not decide what is run",
    "train config.yaml": FILE,
    "train .": FILE,
    "train folder=. model=nequip_small": "\n  plugins: ['canary'] there, [] here",
    "train folder=new ckpt=other.ckpt model=nequip_small name=first": "\n  plugins: ['canary'] there, [] here",
    "train --config-dir mine model=asking": FILE,
    "train --config-dir mine experiment=asking": FILE,
    "train --config-dir mine experiment=back": "a file may not decide what is run",
    "train --config-dir mine experiment=logs --info": "a file may not decide what is run",
    "train --config-dir mine experiment=back --cfg all": "a file may not decide what is run",
    "train -m --config-dir mine seed=0,1 experiment=asking": FILE,
    "train -m --config-dir mine experiment=asking,back": "2 of 2 points are ill-typed",
    "train --experimental-rerun model.yaml": "--experimental-rerun\n  unknown option",
    "train --config-path . seed=1": "--config-path\n  unknown option",
    "sweep --config-dir mine sweep=common": FILE,
    "sweep --config-dir mine sweep=space": FILE,
    "evaluate model=model.safetensors data=sample": "its layers need the plugin canary, which is not installed",
    "predict model=model.safetensors path=model.yaml": "its layers need the plugin canary, which is not installed",
    "layers canary": "no layer kind is named canary",
    "draw errors .": ". has no metrics.json",
}


@pytest.mark.parametrize("command", ROADS)
def test_a_file_does_not_decide_what_is_imported(
    command: str, received: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["e3frame"])
    try:
        code = main(command.split())
    except SystemExit as ended:  # Hydra's, within a multirun
        code = int(ended.code or 0)
    message = capsys.readouterr().err
    assert code == 1
    assert ROADS[command] in message
    assert "Traceback" not in message
    assert (TRUST in message) == ("the plugin canary" in message and "no layer" not in message)
    assert "canary" not in sys.modules
    assert not (received / "ran").exists()


@pytest.mark.parametrize("verb", ["info", "layers", "schema"])
def test_verbs_that_read_no_file(verb: str, received: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 0
    assert "canary" not in sys.modules


NAMED = [
    "check model.yaml plugins=canary",
    "check config.yaml plugins=[canary] --no-data",
    "check . plugins=[canary] --no-data",
    "check --no-data model=model.yaml plugins=canary",
    "check --no-data --config-dir mine model=asking plugins=canary",
    "check --no-data --config-dir mine model=asking model.plugins=[canary]",
    "check --no-data --config-dir mine experiment=asking plugins=[canary]",
    "check --no-data model=nequip_small plugins=canary",
]


@pytest.mark.parametrize("command", NAMED)
def test_what_the_user_names_is_imported(command: str, received: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 0, capsys.readouterr().err
    assert (received / "ran").exists()


def test_a_plugin_that_is_named_belongs_to_the_model(received: Path) -> None:
    config = load_run(["model=nequip_small", "plugins=canary"]).config
    assert (config.plugins, config.model.plugins) == (("canary",), ("canary",))
    config = load_run(["model=nequip_small"]).config
    assert (config.plugins, config.model.plugins) == ((), ())


def test_in_python(received: Path) -> None:
    asking: dict[str, Any] = {**MODEL, "plugins": ["canary"]}
    with pytest.raises(ValueError, match="the plugin canary is not imported"):
        ModelSpec.model_validate(asking)
    with pytest.raises(UserError, match="its layers need the plugin canary, which is not installed"):
        load_model("model.safetensors")
    assert not (received / "ran").exists()
    import canary  # type: ignore[import-not-found]  # noqa: F401

    assert ModelSpec.model_validate(asking).plugins == ("canary",)


def test_a_plugin_that_fails(received: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.py").write_text("1 / 0\n", encoding="utf-8")
    assert main(["check", "model.yaml", "plugins=broken"]) == 1
    assert "the plugin canary is not imported" in capsys.readouterr().err
    assert not (received / "ran").exists()
    assert main(["check", "model.yaml", "plugins=[canary,broken]"]) == 1
    assert "the plugin broken cannot be imported: ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_modules_of_the_current_folder_do_not_stand_for_libraries(received: Path) -> None:
    """Neither those that Python would find there, nor those that Hydra looks for; a plugin that is named is found."""
    for name in ("yaml.py", "pydantic.py", "rich.py", "omegaconf.py", "hydra_plugins/evil.py"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("import canary\n", encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    root = str(config_folder().parent)
    command = [sys.executable, "-m", "e3frame.cli", "check", "--no-data", "model=nequip_small"]
    done = subprocess.run(command, env={**environment, "PYTHONPATH": root}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (received / "ran").exists()
    done = subprocess.run(
        [*command, "plugins=canary"], env={**environment, "PYTHONPATH": root}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (received / "ran").exists()
