"""Whether a folder holds a run that goes on, from which checkpoint, and whether it is the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
"""Keys that may change so that a finished run goes on."""

FREE = {f"trainer.{name}" for name in ("progress_bar", "num_threads", "accelerator", "devices", "num_nodes")} | {
    *("name", "folder", "ckpt", "logger", "data.num_workers", "data.cache_dir", "data.storage", "data.neighbors"),
    *("trainer.checkpoint_minutes", "trainer.checkpoint_steps"),
}
"""Keys that say where and how comfortably a run is done, not which run it is."""


class Finished(UserError):
    """The folder holds this very run, and it has come to its end."""


class Difference(NamedTuple):
    """A key of which two configs have different values."""

    path: PathKey
    held: Any
    given: Any

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {shown(self.held)} there, {shown(self.given)} here"


def differences(held: Any, given: Any, path: PathKey = ()) -> Iterator[Difference]:
    """Where two raw configs differ, apart from FREE keys; what is still ``auto`` may turn out to be anything."""
    if dotted(path) in FREE or given == "auto":
        return
    if isinstance(held, Mapping) and isinstance(given, Mapping):
        for key in [*held, *(key for key in given if key not in held)]:
            yield from differences(held.get(key), given.get(key), (*path, key))
    elif held != given:
        yield Difference(path, held, given)


def require_same(held: Mapping[str, Any], config: RunConfig, where: Path) -> list[Difference]:
    """The changed limits, if nothing else has changed.

    Args:
        held: the raw config of an earlier session.
        config: of this one.
        where: the folder or the checkpoint that holds it, for the message.

    Raises:
        UserError: it is another run, or of a version whose configs mean something else.
    """
    found = _found(held, config, where)
    other = [difference for difference in found if dotted(difference.path) not in LIMITS]
    if other:
        lines = "\n".join(f"  {difference}" for difference in other[:3])
        more = f"\n  and {len(other) - 3} more" if len(other) > 3 else ""
        raise UserError(f"{where} is of another run\n{lines}{more}\n  choose another folder, or the same config")
    return found


def _found(held: Mapping[str, Any], config: RunConfig, where: Path) -> list[Difference]:
    """Differences of two configs. Nothing is imported for it: other plugins are a difference on their own."""
    given, there = list(config.plugins), _plugins(held)
    if there != given:
        return [Difference(("plugins",), there, given)]
    try:
        earlier = validate(type(config), held)
    except SpecErrors as errors:
        first = str(next(iter(errors.errors), "it is not valid")).splitlines()
        problem = f"its config is not that of a run of this version of e3frame: {' '.join(map(str.strip, first))}"
        raise UserError(f"{where}: {problem}\n  choose another folder for a new run") from None
    return list(differences(earlier.model_dump(mode="json"), config.model_dump(mode="json")))


def _plugins(held: Any) -> list[Any]:
    """Those that a config lists for the run and for its model."""
    listed = [part.get("plugins") for part in (held, held.get("model")) if isinstance(part, Mapping)]
    return list({str(plugin): plugin for some in listed if isinstance(some, list) for plugin in some}.values())


class Held(NamedTuple):
    """What a folder holds of a run, as far as it is known before any data are read.

    Attributes:
        files: names of the results there.
        changed: limits that the config there has other values for.
    """

    files: list[str]
    changed: list[Difference]


def look(folder: Path, config: RunConfig) -> Held:
    """Look whether a folder holds a run that a config continues.

    Raises:
        Finished: it is this run, and finished.
        UserError: it is another run, or its data have changed.
    """
    held = results(folder)
    if not held:
        if config.ckpt == "last":
            raise UserError(f"ckpt=last: {folder} holds no run\n  leave ckpt out to start one")
        return Held([], [])
    if "config.yaml" not in held:
        raise UserError(
            f"{folder} holds {', '.join(held)}, but no config.yaml of a run that goes on\n"
            "  choose another folder, or move them away"
        )
    raw = read_yaml(folder / "config.yaml").raw
    changed = require_same(raw, config, folder)
    require_same_data(folder, config)
    if "metrics.json" in held and not changed and config.ckpt in (None, "last"):
        raise Finished(f"{folder} holds this run, finished: there is nothing to do")
    if "metrics.json" in held and changed and not any(map(_lets_go_on, changed)):
        limits = "".join(f"\n  {difference}" for difference in changed)
        raise UserError(f"{folder} holds this run, finished: it goes on under a higher limit alone{limits}")
    return Held(held, changed)


def _lets_go_on(limit: Difference) -> bool:
    """Whether a changed limit moves the end of a finished run further away."""
    if limit.path[-1] == "early_stopping_patience" or limit.given is None:
        return True
    return limit.held is not None and limit.given > limit.held


def find(folder: Path, config: RunConfig, before: int | None = None) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from, if there is one, and what the user should know about it.

    Args:
        folder: of the run.
        config: may name a checkpoint. Where it moves the end of the run, an earlier end is none.
        before: a step whose checkpoint, and those after it, are of no use.

    Raises:
        UserError: the checkpoint that was named does not exist, is damaged, or is of the end of a shorter run.
    """
    from e3frame.training.checkpoints import newest

    if config.ckpt not in (None, "last"):
        return _named(checkpoint_path(config.ckpt), config)
    notes = []
    for found in newest(folder / "checkpoints", before):
        if isinstance(found, tuple):
            notes.append(f"{found[0]} is damaged: {found[1]}; the one before is used")
        elif not (found.done and require_same(found.config, config, found.path)):
            return found, [*notes, f"going on from {found.path}"]
    if config.ckpt == "last":
        raise UserError("\n  ".join([f"ckpt=last: {folder} holds no whole checkpoint", *notes]))
    if notes or before is not None or (folder / "config.yaml").exists():
        notes.append(f"{folder} holds no whole checkpoint yet: this run starts from the beginning")
    return None, notes


def checkpoint_path(ckpt: str) -> Path:
    """The file of a checkpoint.

    Args:
        ckpt: the file, or a folder, which means its newest checkpoint: ``runs/<name>``, the folder of a run, or the
            folder ``checkpoints`` in it.

    Raises:
        UserError: a folder without checkpoints.
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
        raise UserError(f"ckpt={ckpt}: {run_folder(path)} holds no checkpoint\n  choose another run, or leave ckpt out")
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
        raise UserError(f"ckpt={path}: the end of a run, whose schedule is over\n  name the one before it")
    return found, [f"going on from {path}"]


def not_a_checkpoint(path: Path, error: Exception) -> UserError:
    """The message for a file that was named on purpose."""
    return UserError(f"ckpt={path}\n  not a checkpoint of e3frame: {error}")
