"""Finds out whether a folder contains the run of a config, and from which checkpoint it continues."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from e3frame.config.model_paths import run_folder
from e3frame.files.checkpoints import checkpoint_files
from e3frame.files.regular import with_home
from e3frame.files.yaml_file import read_yaml
from e3frame.run.contents import require_same_data
from e3frame.run.folder import results
from e3frame.spec.base import shown
from e3frame.spec.errors import FileError, PathKey, UserError, dotted
from e3frame.spec.validate import SpecErrors, validate

if TYPE_CHECKING:
    from e3frame.config.run import RunConfig
    from e3frame.training.checkpoint import Checkpoint

LIMITS = {f"trainer.{name}" for name in ("max_epochs", "max_steps", "max_minutes", "early_stopping_patience")}
"""Keys that may change so that a finished run continues."""

FREE = {f"trainer.{name}" for name in ("progress_bar", "num_threads", "accelerator", "devices", "num_nodes")} | {
    *("name", "folder", "ckpt", "logger", "data.num_workers", "data.cache_dir", "data.storage", "data.neighbors"),
    *("trainer.checkpoint_minutes", "trainer.checkpoint_steps"),
}
"""Keys that may change in any session: they do not decide the results of a run."""


class Finished(UserError):
    """The run in this folder is already finished."""


class Difference(NamedTuple):
    """A key that has different values in two configs.

    Attributes:
        path: path of the key.
        held: its value in the config of the earlier session.
        given: its value in the config of this session.
    """

    path: PathKey
    held: Any
    given: Any

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {shown(self.held)} there, {shown(self.given)} here"


def differences(held: Any, given: Any, path: PathKey = ()) -> Iterator[Difference]:
    """Yield the differences of two raw configs, apart from FREE keys. ``auto`` in ``given`` stands for any value."""
    if dotted(path) in FREE or given == "auto":
        return
    if isinstance(held, Mapping) and isinstance(given, Mapping):
        for key in [*held, *(key for key in given if key not in held)]:
            yield from differences(held.get(key), given.get(key), (*path, key))
    elif held != given:
        yield Difference(path, held, given)


def require_same(held: Mapping[str, Any], config: RunConfig, where: Path) -> list[Difference]:
    """Return the limits that have changed; nothing else may have.

    Args:
        held: raw config of an earlier session.
        config: config of this session.
        where: folder or checkpoint of the earlier session, for the message.

    Raises:
        UserError: another key has changed, or the config is not valid in this version.
    """
    found = _found(held, config, where)
    other = [difference for difference in found if dotted(difference.path) not in LIMITS]
    if other:
        lines = "\n".join(f"  {difference}" for difference in other[:3])
        more = f"\n  and {len(other) - 3} more" if len(other) > 3 else ""
        hint = "choose another folder, or use the same config"
        raise UserError(f"{where} belongs to a run with another config\n{lines}{more}\n  {hint}")
    return found


def _found(held: Mapping[str, Any], config: RunConfig, where: Path) -> list[Difference]:
    """Return the differences of two configs. If their plugins differ, that is the difference: none is imported."""
    given, there = list(config.plugins), _plugins(held)
    if there != given:
        return [Difference(("plugins",), there, given)]
    try:
        earlier = validate(type(config), held)
    except SpecErrors as errors:
        first = str(next(iter(errors.errors), "it is not valid")).splitlines()
        problem = f"its config is not valid in the installed version of e3frame: {' '.join(map(str.strip, first))}"
        raise UserError(f"{where}: {problem}\n  choose another folder for a new run") from None
    return list(differences(earlier.model_dump(mode="json"), config.model_dump(mode="json")))


def _plugins(held: Any) -> list[Any]:
    """Return the plugins that a config lists for the run and for its model."""
    listed = [part.get("plugins") for part in (held, held.get("model")) if isinstance(part, Mapping)]
    return list({str(plugin): plugin for some in listed if isinstance(some, list) for plugin in some}.values())


class Held(NamedTuple):
    """Results of a run in a folder, as known before any data are read.

    Attributes:
        files: names of the results.
        changed: limits that differ from those of the earlier session.
    """

    files: list[str]
    changed: list[Difference]


def earlier_session(folder: Path, config: RunConfig) -> Held:
    """Return the results in a folder, which must belong to a run that the config can continue.

    Raises:
        Finished: the run is already finished.
        UserError: the folder belongs to another run, or the data have changed.
    """
    held = results(folder)
    if not held:
        if config.ckpt == "last":
            raise UserError(f"ckpt=last: {folder} contains no run\n  remove ckpt to start a new run")
        return Held([], [])
    if "config.yaml" not in held:
        raise UserError(
            f"{folder} contains {', '.join(held)}, but no config.yaml of a run to resume\n"
            "  choose another folder, or move these files away"
        )
    raw = read_yaml(folder / "config.yaml").raw
    changed = require_same(raw, config, folder)
    require_same_data(folder, config)
    if "metrics.json" in held and not changed and config.ckpt in (None, "last"):
        raise Finished(f"{folder}: this run is already finished")
    if "metrics.json" in held and changed and not any(map(_lets_go_on, changed)):
        limits = "".join(f"\n  {difference}" for difference in changed)
        raise UserError(f"{folder}: this run is already finished; it continues only with a higher limit{limits}")
    return Held(held, changed)


def _lets_go_on(limit: Difference) -> bool:
    """Whether a changed limit lets a finished run continue."""
    if limit.path[-1] == "early_stopping_patience" or limit.given is None:
        return True
    return limit.held is not None and limit.given > limit.held


def find(folder: Path, config: RunConfig, before: int | None = None) -> tuple[Checkpoint | None, list[str]]:
    """Return the checkpoint to continue from, and messages about it; None: the run starts from the beginning.

    Args:
        folder: folder of the run.
        config: may name a checkpoint. If its limits have changed, the checkpoint of the earlier end is skipped.
        before: skip the checkpoint of this step and of later ones.

    Raises:
        UserError: the checkpoint that was named does not exist, is damaged, or is the end of a shorter run.
    """
    from e3frame.training.checkpoints import newest

    if config.ckpt not in (None, "last"):
        return _named(checkpoint_path(config.ckpt), config)
    notes = []
    for found in newest(folder / "checkpoints", before):
        if isinstance(found, tuple):
            notes.append(f"{found[0]} is damaged: {found[1]}; using the previous checkpoint")
        elif not (found.done and require_same(found.config, config, found.path)):
            return found, [*notes, f"resuming from {found.path}"]
    if config.ckpt == "last":
        raise UserError("\n  ".join([f"ckpt=last: {folder} has no complete checkpoint", *notes]))
    if notes or before is not None or (folder / "config.yaml").exists():
        notes.append(f"{folder} has no complete checkpoint: starting from the beginning")
    return None, notes


def chosen_folder(config: RunConfig) -> Path | None:
    """Return the folder that the user has chosen for a run; None: a new one.

    Raises:
        UserError: there is no run to resume.
    """
    folder = None if config.folder is None else Path(config.folder)
    if folder is None and config.ckpt == "last":
        runs = sorted((Path("runs") / config.name).glob("*/config.yaml"))
        if not runs:
            raise UserError(f"ckpt=last: runs/{config.name} has no run\n  give name= or folder= of the run")
        folder = runs[-1].parent
    elif folder is None and config.ckpt is not None:
        folder = checkpoint_path(config.ckpt).parent.parent
    if folder is None and config.trainer.world > 1 and "RANK" in os.environ:
        raise UserError("several processes must share one folder\n  set folder=runs/...")
    return folder


def new_folder(name: str) -> Path:
    """Return ``runs/<name>/<date and time>``."""
    return Path("runs") / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def checkpoint_path(ckpt: str) -> Path:
    """Return the file of a checkpoint.

    Args:
        ckpt: the file; or ``runs/<name>``, the folder of a run, or its folder ``checkpoints``, for its newest.

    Raises:
        UserError: the folder holds no checkpoints.
    """
    path = with_home(ckpt)
    if not path.is_dir():
        return path
    found = checkpoint_files(path)
    try:
        found = found or checkpoint_files(run_folder(path) / "checkpoints")
    except FileError as error:
        raise UserError(f"ckpt={error}") from None
    if not found:
        raise UserError(f"ckpt={ckpt}: {run_folder(path)} has no checkpoint\n  choose another run, or remove ckpt")
    return found[-1]


def _named(path: Path, config: RunConfig) -> tuple[Checkpoint, list[str]]:
    from e3frame.training.checkpoint import Damaged, read_checkpoint

    try:
        found = read_checkpoint(path)
    except Damaged as error:
        raise not_a_checkpoint(path, error) from None
    except OSError as error:
        raise UserError(f"ckpt={path}: {error.strerror}") from None
    require_same_data(path.parent.parent, config)
    if found.done and require_same(found.config, config, path):
        problem = "this is the last checkpoint of a finished run"
        raise UserError(f"ckpt={path}: {problem}\n  choose an earlier checkpoint")
    return found, [f"resuming from {path}"]


def not_a_checkpoint(path: Path, error: Exception) -> UserError:
    """Return the error for a file that the user has named."""
    return UserError(f"ckpt={path}\n  not a checkpoint of e3frame: {error}")
