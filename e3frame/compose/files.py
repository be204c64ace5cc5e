"""The files of config groups: where they are, what one may hold, and where each of its values was written."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

from e3frame.files.sources import Sources, shown_path
from e3frame.spec.errors import SpecError, UserError

_HYDRA_OF_FILES = ("run", "sweep", "mode")
"""Keys of ``hydra`` that say where results go. The others name what is imported, executed, or given to a shell."""


def config_folder() -> Path:
    """The configs: inside an installed package, else beside the package in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "configs"
    return shipped if shipped.is_dir() else package.parent / "configs"


def roots(config_dir: str | None) -> list[Path]:
    found = [config_folder()]
    if config_dir is not None:
        if not isdir(config_dir):
            raise UserError(f"--config-dir {config_dir}: there is no such folder")
        found.append(Path(config_dir))
    return found


def file_places(files: Sequence[Any], config_dir: str | None) -> Sources:
    """Where the values of the composed files were written.

    Raises:
        UserError: a file of a group that is empty, or one of the user's that has the name of another, or says what to
            run.
    """
    sources = Sources()
    for entry in files:
        found = [root / f"{entry.config_path}.yaml" for root in roots(config_dir) if entry.config_path]
        found = list(filter(isfile, found))
        if not found:
            continue
        if len({path.resolve() for path in found}) > 1:
            problem = f"there is a config {entry.config_path} in e3frame already, which is the one that is used"
            raise UserError(f"{shown_path(found[1])}\n  {problem}\n  give the file another name")
        package = tuple(entry.package.split(".")) if entry.package else ()
        own = Sources()
        if not own.add_file(found[0], package) and package:
            raise UserError(f"{shown_path(found[0])}\n  a mapping is required at its top level, the file is empty")
        if not found[0].resolve().is_relative_to(config_folder().resolve()):
            _refuse_to_run(own)
        sources.places.update(own.places)
    return sources


def _refuse_to_run(sources: Sources) -> None:
    """Hydra imports and runs what stands below ``hydra``; a file is no reason to do that.

    Raises:
        SpecError: a file sets a key there.
    """
    for path in sources.places:
        if path[0:1] == ("hydra",) and len(path) > 1 and path[1] not in _HYDRA_OF_FILES:
            hint = f"files may set hydra.{', hydra.'.join(_HYDRA_OF_FILES)}; give others on the command line"
            raise sources.place(SpecError(path[:2], "this key decides what is run, not which model", hint, at_key=True))
