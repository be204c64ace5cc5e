"""``e3frame train``: compose a run, type-check it, train it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import hydra
from omegaconf import DictConfig

from e3frame.cli.arguments import Parser
from e3frame.cli.shorthand import beginning, expanded, read_run
from e3frame.compose import compose_config, compose_job, config_folder, normalize_overrides, typed_run
from e3frame.config.run import TypedRun
from e3frame.files.regular import with_home
from e3frame.files.yaml_text import read_text
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
            raise UserError(f"{start}\n  a complete config can only be combined with key=value")
        return _from_file(start, typed_words)
    overrides = expanded(typed_words, given.config_dir)
    flags = [argument for argument in arguments if argument not in given.overrides]
    if given.cfg or given.info:
        compose_config(overrides, config_dir=given.config_dir)
        _hydra([*flags, *normalize_overrides(overrides, given.config_dir)], lambda _: None)
        return 0
    if given.multirun:
        return _grid(overrides, flags, given.config_dir)
    return _from_groups(overrides, given.config_dir)


def _from_groups(overrides: Sequence[str], config_dir: str | None) -> int:
    """Train the run of the choices and values of the command line."""
    composed, job = compose_job(overrides, config_dir)
    typed = typed_run(composed)
    _warn(typed.warnings)
    from e3frame.run.resume import chosen_folder

    folder = chosen_folder(typed.config)
    return _run(typed, folder, lambda task: job.run(task, folder))


def _from_file(start: Path, overrides: Sequence[str]) -> int:
    """Train the run of a config.yaml; given the folder of a run, resume that run."""
    typed = typed_run(read_run(start, overrides))
    _warn(typed.warnings)
    from e3frame.run.resume import new_folder

    folder = start if start.is_dir() else None
    return _run(typed, folder, lambda task: task(folder or new_folder(typed.config.name)))


def _run(typed: TypedRun, folder: Path | None, call: Callable[[Callable[[Path], None]], None]) -> int:
    """Train a run, after everything that needs no torch is checked.

    Args:
        folder: the folder that the user has chosen; None for a new one.
        call: calls a function with the folder.
    """
    from e3frame.run.folder import make_writable
    from e3frame.run.resume import Finished, earlier_session

    try:
        held = None if folder is None else earlier_session(folder, typed.config)
        if folder is not None:
            make_writable(folder)
        from e3frame.run.training import run

        def task(made: Path) -> None:
            run(typed, made.relative_to(Path.cwd()) if made.is_relative_to(Path.cwd()) else made, held=held)

        call(task)
    except Finished as finished:
        print(finished)
    return 0


def _grid(overrides: Sequence[str], flags: Sequence[str], config_dir: str | None) -> int:
    """Train a run for each point of a grid, by Hydra's sweepers and launchers."""
    from e3frame.cli.grid import Points, checked

    folders = [override.partition("=")[2] for override in overrides if override.startswith("folder=")]
    _require_own_sweep(folders)
    chosen = [f"hydra.sweep.dir='{with_home(folder)}'" for folder in folders]
    for_hydra = checked(overrides, config_dir)
    _require_installed()  # before Hydra, which would wrap the error
    points = Points(config_dir)
    _hydra([*flags, *for_hydra, *chosen], points)
    return 1 if points.failed else 0


def _hydra(arguments: Sequence[str], task: Callable[[DictConfig], None]) -> None:
    """Hydra's own command line."""
    sys.argv = [sys.argv[0], *arguments]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra would print errors in its own words
    hydra.main(version_base="1.3", config_path=str(config_folder().resolve()), config_name="config")(task)()


def _require_own_sweep(folders: Sequence[str]) -> None:
    """Check that an existing multirun.yaml is ours: Hydra replaces it."""
    for file in (with_home(folder) / "multirun.yaml" for folder in folders):
        if file.exists() and "app_name: e3frame" not in read_text(file):
            raise UserError(f"{file}\n  this file belongs to another program\n  choose another folder")


def _require_installed() -> None:
    """Raise ModuleNotFoundError for a missing package, without importing any: a grid is checked first."""
    for package in ("torch", "lightning"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)


def _warn(warnings: Sequence[SpecError]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
