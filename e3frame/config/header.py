"""Header of a trained model's file: what it says about the model, and checks that this is possible.

Imports no torch. A file may come from anyone: every field is checked, nothing that it names is imported, and no memory
is allocated because of it.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from e3frame.config.checks import check_output
from e3frame.config.model_paths import model_path
from e3frame.config.targets import TaskSpec
from e3frame.files.regular import open_regular
from e3frame.model import ModelSpec, TypedModel
from e3frame.spec.base import Spec, shown
from e3frame.spec.errors import FileError, SpecError, dotted
from e3frame.spec.layer import unresolved
from e3frame.spec.plugins import GROUP, Origin, load, origin, untrusted, way_to_trust
from e3frame.spec.validate import SpecErrors, validate
from e3frame.spec.words import printable
from e3frame.version import __version__

S = TypeVar("S", bound=Spec)

FORMAT = 1
"""Number of the file format; raise it when older versions of e3frame cannot read the new files."""

LONGEST = 8 << 20
"""Largest header to read, in bytes. A large model has about 50,000."""

_PIP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,80}")
"""Names of distributions, and versions."""

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of a number, by the name of its type in a safetensors file."""

WEIGHTS = ("float32", "float64", "bfloat16", "float16")
"""Types that the weights of a model may have."""


class Held(NamedTuple):
    """A tensor in the file; ``begin`` and ``end`` are bytes, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """Validated header of a model file: its spec is well-typed and matches the number of weights.

    Attributes:
        version: version of e3frame that wrote the file.
        dtype: data type of the weights, one of WEIGHTS.
        start: position of the weights, in bytes.
        origins: distributions from which the plugins of the spec were installed, if known.
        origin: what the model was converted from; None if e3frame trained it.
    """

    path: Path
    version: str
    dtype: str
    spec: ModelSpec
    typed: TypedModel
    task: TaskSpec | None
    tensors: Mapping[str, Held]
    start: int
    origins: Mapping[str, Origin]
    origin: str | None

    @classmethod
    def read(cls, path: str | Path, plugins: Collection[str] = ()) -> Header:
        """Read the header of a model.

        Args:
            path: file of the model, folder of its run, or ``runs/<name>`` for the newest run of that name.
            plugins: modules that may be imported if the spec names them, besides installed plugins.

        Raises:
            FileError: the file does not exist, is not a model, or needs a plugin that cannot be imported.
        """
        path = model_path(path)
        named = (plugins,) if isinstance(plugins, str) else plugins
        entries, start = _entries(path)
        metadata = _metadata(path, entries.pop("__metadata__", None))
        tensors = _tensors(path, entries, _size(path) - start)
        raw = _parsed(path, "spec", metadata["spec"])
        origins = read_origins(metadata.get("plugins"))
        _load_plugins(path, raw.get("plugins", []), named, origins)
        spec = _valid(path, "spec", ModelSpec, raw, named)
        typed = _typed(path, spec)
        task = None
        if "task" in metadata:
            task = _valid(path, "task", TaskSpec, _parsed(path, "task", metadata["task"]))
            _require_outputs(path, task, typed)
        _require_room(path, typed, tensors)
        written, origin = metadata["e3frame"], metadata.get("origin")
        return cls(path, written, metadata["dtype"], spec, typed, task, tensors, start, origins, origin)


def not_a_model(path: Path, problem: str, hint: str | None = None) -> FileError:
    """Return the error for a file that is not a model of e3frame."""
    return FileError(path, f"not a model of e3frame: {printable(problem)}", hint)


def read_bytes(path: Path, start: int, count: int) -> bytes:
    """Read ``count`` bytes of a regular file from ``start``; a named pipe is refused without waiting.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            file.seek(start)
            return file.read(count)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise not_a_model(path, str(error.strerror)) from None
        raise FileError(path, f"cannot be read: {error.strerror}") from None


def _size(path: Path) -> int:
    return path.stat().st_size


def _entries(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header as a mapping, and the position of its end."""
    length, size = int.from_bytes(read_bytes(path, 0, 8), "little"), _size(path)
    if size < 10 or not 2 <= length <= size - 8:
        raise not_a_model(path, "not a safetensors file, or truncated")
    if length > LONGEST:
        raise not_a_model(path, f"its header has {length:,} bytes; at most {LONGEST:,} are allowed")
    entries = _json(path, "header", read_bytes(path, 8, length))
    if not isinstance(entries, dict):
        raise not_a_model(path, "its header is not a mapping")
    return entries, 8 + length


def _json(path: Path, what: str, text: bytes | str) -> Any:
    try:
        raw = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        json.dumps(raw, ensure_ascii=False).encode()  # lone surrogates, which cannot be printed
        return raw
    except RecursionError:
        raise not_a_model(path, f"its {what} is nested too deeply") from None
    except ValueError as error:  # also for text that is not UTF-8
        raise not_a_model(path, f"its {what} is not JSON: {error}") from None


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        raise ValueError("a key is listed twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _metadata(path: Path, given: Any) -> dict[str, str]:
    """Return e3frame's own metadata from the header."""
    if not isinstance(given, dict) or "e3frame" not in given or "spec" not in given:
        raise not_a_model(path, "a safetensors file that e3frame did not write")
    for key in ("e3frame", "spec", "format", "dtype", *(key for key in ("task", "origin") if key in given)):
        if not isinstance(given.get(key), str):
            raise not_a_model(path, f"its header lacks the text '{key}'")
    version, number = given["e3frame"], given["format"]
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise not_a_model(path, f"its format is not a number: {shown(number)}")
    if int(number) > FORMAT:
        problem = f"written by e3frame {printable(shown(version))}, which is newer than the installed {__version__}"
        raise FileError(path, problem, "pip install --upgrade e3frame")
    if int(number) != FORMAT:
        raise not_a_model(path, f"its format {number} does not exist")
    if given["dtype"] not in WEIGHTS:
        raise not_a_model(path, f"its dtype must be one of {', '.join(WEIGHTS)}; got {shown(given['dtype'])}")
    return given


def _tensors(path: Path, entries: Mapping[str, Any], room: int) -> dict[str, Held]:
    """Read the positions of all tensors, which must fill the rest of the file without a gap.

    Args:
        room: bytes after the header.
    """
    found = {}
    for name, entry in entries.items():
        try:
            held = Held(entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
            sound = held.dtype in SIZES and all(type(n) is int and n >= 0 for n in (*held.shape, *held[2:]))
            sound = sound and len(held.shape) < 10 and prod(held.shape) * SIZES[held.dtype] == held.end - held.begin
        except (TypeError, KeyError):
            sound = False
        if not sound:
            raise not_a_model(path, f"its header does not describe the tensor {shown(name)}")
        found[name] = held
    end = 0
    for name, held in sorted(found.items(), key=lambda item: item[1][2:]):
        if held.begin != end:
            raise not_a_model(path, f"the tensor {shown(name)} does not begin where the previous one ends")
        end = held.end
    if end != room:
        raise not_a_model(path, f"its header describes {end:,} bytes of weights, but the file has {room:,}")
    return found


def _parsed(path: Path, what: str, text: str) -> dict[str, Any]:
    raw = _json(path, what, text)
    if not isinstance(raw, dict):
        raise not_a_model(path, f"its {what} is not a mapping")
    return raw


def _valid(path: Path, what: str, cls: type[S], raw: dict[str, Any], plugins: Collection[str] = ()) -> S:
    try:
        return validate(cls, raw, plugins=plugins)
    except SpecErrors as errors:
        raise _wrong(path, what, errors.errors[0]) from None
    except RecursionError:
        raise not_a_model(path, f"its {what} is nested too deeply") from None


def _wrong(path: Path, what: str, error: SpecError) -> FileError:
    return not_a_model(path, f"{shown(dotted((what, *error.path)))}: {error.problem}")


def _typed(path: Path, spec: ModelSpec) -> TypedModel:
    try:
        for key in unresolved(spec):
            raise not_a_model(path, f"{shown(dotted(('spec', *key)))} is 'auto', but a trained model needs a value")
        return spec.typed()
    except SpecError as error:
        raise _wrong(path, "spec", error) from None
    except RecursionError:
        raise not_a_model(path, "its spec is nested too deeply") from None


def _require_outputs(path: Path, task: TaskSpec, typed: TypedModel) -> None:
    """Raise FileError unless every target of the task is an output of the model."""
    for name in task.targets:
        try:
            check_output(name, task, typed)
        except SpecError as error:
            raise not_a_model(path, f"{shown(dotted(error.path))}: {error.problem}") from None


def _require_room(path: Path, typed: TypedModel, tensors: Mapping[str, Held]) -> None:
    """Check the number of weights before building anything: a spec can describe more than fits into memory."""
    needed, there = typed.num_parameters, sum(prod(held.shape) for held in tensors.values())
    if needed > there:
        raise not_a_model(path, f"its spec needs {needed:,} weights, but the file has {there:,}")


def _load_plugins(path: Path, listed: Any, named: Collection[str], origins: Mapping[str, Origin]) -> None:
    """Import the plugins of the model; a file may not decide on its own what is imported.

    Raises:
        FileError: a plugin is neither installed nor named by the user, or cannot be imported.
    """
    if not isinstance(listed, list) or not all(isinstance(plugin, str) for plugin in listed):
        raise not_a_model(path, f"spec.plugins must be a list of names, got {shown(listed)}")
    stranger = untrusted(listed, named)
    if stranger is not None:
        problem = f"its layers need {_plugin(stranger, origins)}, which is not installed: no entry point of {GROUP} has"
        hint = "\n".join([printable(way_to_trust(stranger)), *_installation(stranger, origins)])
        raise FileError(path, f"{problem} this name", hint)
    for plugin in listed:
        try:
            load([plugin], named)
        except SpecError as error:
            hint = "\n".join(filter(None, [error.hint, *_installation(plugin, origins)]))
            raise FileError(path, f"its layers need {_plugin(plugin, origins)}: {error.problem}", hint) from None


def _plugin(plugin: str, origins: Mapping[str, Origin]) -> str:
    named = f"the plugin {printable(shown(plugin))}"
    return f"{named} ({origins[plugin]})" if plugin in origins else named


def _installation(plugin: str, origins: Mapping[str, Origin]) -> list[str]:
    """Return the command to install a plugin, if the file names its package; the file may come from anyone."""
    if plugin not in origins:
        return []
    name, version = origins[plugin]
    return [f"if you trust the package: pip install {name}=={version}"]


def read_origins(text: str | None) -> dict[str, Origin]:
    """Read the distributions of plugins from a file; those with an invalid name or version are left out."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    listed = found.items() if isinstance(found, dict) else ()
    return {
        plugin: Origin(*given)
        for plugin, given in listed
        if isinstance(given, list) and len(given) == 2 and all(isinstance(x, str) and _PIP.fullmatch(x) for x in given)
    }


def written_origins(plugins: Collection[str]) -> str:
    """Return the distributions of plugins as text for a file."""
    found = {plugin: origin(plugin) for plugin in plugins}
    return json.dumps({plugin: where for plugin, where in found.items() if where is not None})
