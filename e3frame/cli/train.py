"""``e3frame train``: Hydra composes the run, the type checker passes it, then it is trained."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from e3frame.cli.arguments import Parser
from e3frame.cli.shorthand import beginning, expanded, read_run
from e3frame.compose import compose_config, config_folder, load_run, normalize_overrides, typed_run
from e3frame.config.run import RunConfig
from e3frame.files.regular import with_home
from e3frame.files.yaml_file import read_text
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.signals import remember

_EXAMPLES = """
    e3frame train model=nequip data=xyz data.path=train.xyz optimizer.lr=2e-3
    e3frame train model=./mine.yaml data=md.xyz      files of your own, by their paths
    e3frame train --config-dir mine model=my_model   groups of your own: mine/model/my_model.yaml
    e3frame train folder=runs/mine model=nequip      in this folder; continues the run that stopped there
    e3frame train runs/mine                          the same, with the config of that run
    e3frame train runs/mine trainer.max_epochs=200   ... and a later end
    e3frame train runs/mine/config.yaml              the same run again, from its start
    e3frame train -m optimizer.lr=1e-3,3e-3          one run for each value, if all are well-typed
    e3frame train -m hydra.sweeper.ill_typed=skip ...    ... or for each that is
    e3frame train --cfg job model=nequip             print the composed config, run nothing
"""
_NOTE = "A run is one choice from each group, and any key of theirs; e3frame check takes the same arguments."
_PARTS = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]


def parser() -> Parser:
    """The options of Hydra's that train the config that is checked, and read no pickle."""
    parser = Parser("train", _EXAMPLES, words="overrides", note=_NOTE)
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="GROUP=CHOICE or KEY=VALUE; a run folder or its config.yaml"
    )
    parser.add_argument("--config-dir", "-cd", metavar="FOLDER", help="a folder with further config groups")
    parser.add_argument("--multirun", "-m", action="store_true", help="one run for each of several values")
    what = "print the composed config and run nothing: job, hydra or all"
    parser.add_argument("--cfg", "-c", metavar="WHAT", choices=["job", "hydra", "all"], help=what)
    parser.add_argument("--package", "-p", metavar="KEY", help="the part of the config that --cfg prints")
    parser.add_argument("--resolve", action="store_true", help="fill in ${...} in what --cfg prints")
    how = f"print how the config is composed: {', '.join(_PARTS)}"
    parser.add_argument("--info", "-i", metavar="WHAT", nargs="?", const="all", choices=_PARTS, help=how)
    return parser


def main(arguments: list[str]) -> int:
    """Train a run, or one run for each point of a grid, after everything has been checked without torch."""
    remember()
    given = parser().parse_args(arguments)
    start, typed_words = beginning(given.overrides)
    if start is not None:
        if given.multirun or given.cfg or given.config_dir:
            raise UserError(f"{start}\n  a finished config goes with key=value alone, and with no option")
        return _from_file(start, typed_words)
    overrides = expanded(typed_words, given.config_dir)
    chosen: list[str] = []
    trains = not (given.cfg or given.info)
    if not trains:
        compose_config(overrides, config_dir=given.config_dir)
    if trains and not given.multirun:
        typed = load_run(overrides, given.config_dir)
        _warn(typed.warnings)
        chosen = _choose_folder(typed.config)
    elif given.multirun:
        folders = [o.partition("=")[2] for o in overrides if o.startswith("folder=")]
        _require_own_sweep(folders)
        chosen = [f"hydra.sweep.dir='{with_home(folder)}'" for folder in folders]
    flags = [argument for argument in arguments if argument not in given.overrides]
    if given.multirun:
        from e3frame.cli.grid import checked

        for_hydra = checked(overrides, given.config_dir)
    else:
        for_hydra = normalize_overrides(overrides, given.config_dir)
    sys.argv = [sys.argv[0], *flags, *for_hydra, *chosen]
    from e3frame.run.resume import Finished

    if trains:  # what is not installed is told from here, and not by Hydra
        _require_installed() if given.multirun else import_module("e3frame.run.training")
    failures: list[UserError] = []

    def job(_: DictConfig) -> None:
        try:
            _train(given.config_dir)
        except Finished as finished:
            print(finished)
        except UserError as error:
            failures.append(error)
            print(error, file=sys.stderr)

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra would tell in its own words what is told by us
    hydra.main(version_base="1.3", config_path=str(config_folder().resolve()), config_name="config")(job)()
    return 1 if failures else 0


def _choose_folder(config: RunConfig) -> list[str]:
    """Where the run goes, for Hydra; nothing where that is a new folder.

    Raises:
        UserError: there is no run to go on with, or it is another one.
    """
    from e3frame.run.folder import make_writable
    from e3frame.run.resume import Finished, checkpoint_path, look

    folder = None if config.folder is None else Path(config.folder)
    if folder is None and config.ckpt == "last":
        runs = sorted((Path("runs") / config.name).glob("*/config.yaml"))
        if not runs:
            raise UserError(f"ckpt=last: there is no run in runs/{config.name}\n  name another one, or give folder=")
        folder = runs[-1].parent
    elif folder is None and config.ckpt is not None:
        folder = checkpoint_path(config.ckpt).parent.parent
    if folder is None and config.trainer.world > 1 and "RANK" in os.environ:
        raise UserError("several processes need one folder\n  give folder=runs/...")
    if folder is None:
        return []
    with suppress(Finished):
        look(folder, config)
        make_writable(folder)
    return [f"hydra.run.dir='{folder}'"]


def _require_own_sweep(folders: Sequence[str]) -> None:
    """Hydra writes multirun.yaml over whatever has this name."""
    for file in (with_home(folder) / "multirun.yaml" for folder in folders):
        if file.exists() and "app_name: e3frame" not in read_text(file):
            raise UserError(f"{file}\n  this file is of another program\n  choose another folder")


def _from_file(start: Path, overrides: Sequence[str]) -> int:
    """A run from the config.yaml of another one; or, of a run's folder, from where it stopped."""
    folder = start if start.is_dir() else None
    composed = read_run(start, overrides)
    typed = typed_run(composed)
    _warn(typed.warnings)
    from e3frame.run.resume import Finished
    from e3frame.run.training import run

    try:
        run(typed.config, folder or Path("runs") / typed.config.name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    except Finished as finished:
        print(finished)
    return 0


def _require_installed() -> None:
    """Raise ModuleNotFoundError for what runs need; imports nothing, because a grid is checked first."""
    for package in ("torch", "lightning"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)


def _warn(warnings: Sequence[SpecError]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _train(config_dir: str | None) -> None:
    runtime = HydraConfig.get()
    config = load_run(list(runtime.overrides.task), config_dir).config
    from e3frame.run.training import run

    folder = Path(runtime.runtime.output_dir)
    run(config, folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
