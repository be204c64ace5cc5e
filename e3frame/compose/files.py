"""The files of config groups: their folders, what they may contain, and the places of their values."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

from e3frame.files.sources import Sources, shown_path
from e3frame.spec.errors import SpecError, UserError

_HYDRA_OF_FILES = ("run", "sweep", "mode")
"""Keys of ``hydra`` that files may set: where results go. Others say what is imported, executed or run in a shell."""


def config_folder() -> Path:
    """The folder of the configs: inside an installed package, else beside it in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "configs"
    return shipped if shipped.is_dir() else package.parent / "configs"


def roots(config_dir: str | None) -> list[Path]:
    """The folders with config groups: ours, and the user's if there is one.

    Raises:
        UserError: the user's does not exist.
    """
    found = [config_folder()]
    if config_dir is not None:
        if not isdir(config_dir):
            raise UserError(f"--config-dir {config_dir}: this folder does not exist")
        found.append(Path(config_dir))
    return found


def file_places(files: Sequence[Any], config_dir: str | None) -> Sources:
    """Where the values of the composed files were written.

    Raises:
        UserError: a file is empty, or a file of the user's has the name of one of ours or says what to run.
    """
    sources = Sources()
    for entry in files:
        found = [root / f"{entry.config_path}.yaml" for root in roots(config_dir) if entry.config_path]
        found = list(filter(isfile, found))
        if not found:
            continue
        if len({path.resolve() for path in found}) > 1:
            problem = f"e3frame has a config {entry.config_path} too, and would use that one"
            raise UserError(f"{shown_path(found[1])}\n  {problem}\n  rename the file")
        package = tuple(entry.package.split(".")) if entry.package else ()
        own = Sources()
        if not own.add_file(found[0], package) and package:
            raise UserError(f"{shown_path(found[0])}\n  a mapping is required at the top level; the file is empty")
        if not found[0].resolve().is_relative_to(config_folder().resolve()):
            _refuse_to_run(own)
        sources.places.update(own.places)
    return sources


def _refuse_to_run(sources: Sources) -> None:
    """Keep files from deciding what Hydra imports and runs.

    Raises:
        SpecError: a file sets such a key below ``hydra``.
    """
    for path in sources.places:
        if path[0:1] == ("hydra",) and len(path) > 1 and path[1] not in _HYDRA_OF_FILES:
            hint = (
                f"files may set hydra.{', hydra.'.join(_HYDRA_OF_FILES)}; set other keys of hydra on the command line"
            )
            raise sources.place(SpecError(path[:2], "a file may not decide what is run", hint, at_key=True))
