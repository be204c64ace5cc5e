"""The state of a training in one file: tensors as safetensors, the rest as JSON in its header. Reading runs no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from lightning.fabric.plugins.io import CheckpointIO
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from e3frame.files.regular import read_regular
from e3frame.files.written import write_file
from e3frame.spec.errors import UserError
from e3frame.version import __version__

FORMAT = 1
"""Number of the file format; increase it when older versions of e3frame cannot read the new files."""

CONVENTIONS = "e3nn 0.5: (mul, ir) order, l = 1 is (x, y, z), component normalization by default"
"""The conventions of the weights, as in ``e3frame.algebra``; weights of other conventions are refused."""


class Damaged(Exception):
    """A file is not a whole checkpoint; the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        path: its file.
        state: the state that Lightning restores.
        config: the resolved run config, as a raw mapping.
        step: number of steps of the optimizer.
        done: whether the training was finished.
    """

    path: Path
    state: dict[str, Any]
    config: dict[str, Any]
    step: int
    done: bool


def write_checkpoint(path: Path, state: Mapping[str, Any], config: Mapping[str, Any], done: bool = False) -> Path:
    """Write a checkpoint in one step.

    Args:
        path: the file.
        state: nested dicts, lists and tuples of tensors and plain values.
        config: the resolved run config, as plain values.
        done: whether the training is finished.
    """
    tensors: dict[str, Tensor] = {}
    about = {
        "e3frame": __version__,
        "torch": torch.__version__,
        "conventions": CONVENTIONS,
        "step": state["global_step"],
        "done": done,
        "config": config,
    }
    encoded = {"about": about, "state": _encode(state, "", tensors)}
    metadata = {"format": str(FORMAT), **{key: json.dumps(value) for key, value in encoded.items()}}
    header, data = _split(save(tensors, metadata))
    header["__metadata__"]["digest"] = _digest(header, data)
    return write_file(path, _join(header, data))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        Damaged: the file is not a whole checkpoint.
        UserError: the checkpoint is of another version or of other conventions.
    """
    content = read_regular(path)
    if content[:2] == b"PK":
        problem = "it was written by a version of e3frame that pickled checkpoints, and a pickle can run any code"
        raise UserError(f"{path} is not read: {problem}\n  start a new run; model.safetensors files are read as before")
    try:
        header, data = _split(content)
        metadata = header["__metadata__"]
        intact = metadata.pop("digest") == _digest(header, data)
        _require_known(path, metadata)
        about = _About.model_validate_json(metadata["about"])
        if not intact:
            raise Damaged("its content does not match its digest")
        state = _decode(json.loads(metadata["state"]), load(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, SafetensorError):
        raise Damaged("it is cut off, or not a checkpoint") from None
    if about.conventions != CONVENTIONS:
        problem = f"its conventions are {about.conventions[:80]!r}, but those of this version are {CONVENTIONS!r}"
        raise UserError(f"{path}: {problem}")
    if not isinstance(state, dict) or state.get("global_step") != about.step:
        raise Damaged("its state is not that of the step that it names")
    return Checkpoint(path, state, about.config, about.step, about.done)


class _About(BaseModel):
    """The description of a checkpoint in its header."""

    model_config = ConfigDict(strict=True)

    conventions: str
    step: Annotated[int, Field(ge=0)]
    done: bool
    config: dict[str, Any]


def _require_known(path: Path, metadata: Mapping[str, Any]) -> None:
    number = int(metadata["format"])
    if number > FORMAT:
        written = f"its format {number} is newer than format {FORMAT} of the installed e3frame {__version__}"
        raise UserError(f"{path}: {written}\n  pip install --upgrade e3frame")


def _encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON; its tensors are moved to ``tensors``, under their place in it."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"$tensor": name}
    if isinstance(value, Mapping):
        items = [(key, _encode(inner, f"{name}.{key}".lstrip("."), tensors)) for key, inner in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$items": [list(item) for item in items]}
    if isinstance(value, list | tuple):
        inner = [_encode(each, f"{name}.{k}", tensors) for k, each in enumerate(value)]
        return inner if isinstance(value, list) else {"$tuple": inner}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a checkpoint cannot hold a {type(value).__name__}")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$tuple" in value:
        return tuple(_decode(each, tensors) for each in value["$tuple"])
    if "$items" in value:
        return {key: _decode(inner, tensors) for key, inner in value["$items"]}
    return {key: _decode(inner, tensors) for key, inner in value.items()}


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return header and data of a safetensors file."""
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def _join(header: Mapping[str, Any], data: bytes) -> bytes:
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def _digest(header: Mapping[str, Any], data: bytes) -> str:
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=32)
    digest.update(data)
    return digest.hexdigest()


class SafeCheckpoints(CheckpointIO):
    """Let Lightning write its checkpoints in this format.

    Args:
        config: the resolved run config, which each checkpoint holds.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_checkpoint(Path(path), checkpoint, self.config, done=bool(checkpoint.get("done")))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path)).state

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
