"""Damaged models of another program, given to the conversion."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from support.fuzzing import Area, Case, Outcome
from support.mace import ARCHIVE, unpacked

from e3frame.cli import main
from e3frame.inference.saved import load_model

CANARY = "ran"
NAMES = ("mace_zbl", "heads", "density", "xplor", "old")
NUMBERS = (0, 1, 2, 3, 7, 255, 65_536, 2**31 - 1, -1, -7)
FLOATS = (0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), 0.5, 3.4e38)
WORDS = ("", "silu", "0e", "weight", "_buffers", "_modules", "\x1b[31m", "\u202e", "a" * 5000, "interactions")
GLOBALS = ("os system", "builtins exec", "torch.nn.functional relu", "mace.modules.blocks Other", "torch FloatStorage")


@dataclass(frozen=True)
class State:
    """The entries of each model file."""

    models: dict[str, dict[str, bytes]]


class _Boom:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


def prepare(folder: Path) -> State:
    torch.set_num_threads(1)
    unpacked(folder)
    unpacked(folder, ARCHIVE.with_name("sevennet.tar.xz"))
    models = {}
    for name in NAMES:
        with zipfile.ZipFile(next(folder.glob(f"{name}.*"))) as archive:
            models[name] = {entry.partition("/")[2]: archive.read(entry) for entry in archive.namelist()}
    with redirect_stdout(io.StringIO()):  # so that no case pays for what all of them import
        assert main(["convert", str(folder / "mace_zbl.model"), f"out={folder / 'a.safetensors'}"]) == 0
        assert main(["convert", str(folder / "xplor.pth"), f"out={folder / 'b.safetensors'}"]) == 0
    return State(models)


def case(state: State, rng: Random, number: int, folder: Path) -> Case:
    name, change = rng.choice(NAMES), rng.choice(list(CHANGES))
    path, out, canary = folder / "a.model", folder / "m.safetensors", folder / CANARY
    said = CHANGES[change](dict(state.models[name]), rng, path, canary)

    def run() -> int:
        code = main(["convert", str(path), f"out={out}", *(["head=low"] if name == "heads" else [])])
        if code == 0:
            load_model(out)
        return code

    def verdict(outcome: Outcome) -> str | None:
        if canary.exists():
            return "code of the file was run"
        if outcome.code and out.exists():
            return "a model was written in spite of the message"
        return "the message does not name the file" if outcome.code and "a.model" not in outcome.output else None

    return Case(f"{name}: {change} {said}", run, verdict)


def _written(entries: dict[str, bytes], path: Path, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)


def _bytes(entries: dict[str, bytes], rng: Random, path: Path, canary: Path) -> str:
    """The file itself."""
    _written(entries, path)
    content = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "cut", "more", "noise", "zeros", "directory"])
    if kind == "flip":
        for _ in range(rng.choice([1, 3, 100])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "more":
        content += rng.randbytes(rng.choice([1, 22, 4096]))
    elif kind == "noise":
        content[:] = rng.choice([b"", b"PK\x03\x04"]) + rng.randbytes(rng.choice([0, 1, 100, 5000]))
    elif kind == "zeros":
        begin = rng.randrange(len(content))
        content[begin : begin + 64] = bytes(min(64, len(content) - begin))
    else:
        begin = content.index(b"PK\x01\x02")
        for _ in range(rng.choice([1, 5])):
            content[rng.randrange(begin, len(content))] = rng.randrange(256)
    path.write_bytes(content)
    return kind


def _instructions(entries: dict[str, bytes], rng: Random, path: Path, canary: Path) -> str:
    """Values in the pickle, which stays whole."""
    content = entries["data.pkl"]
    steps = [(op, arg, at) for op, arg, at in pickletools.genops(content) if at is not None]
    ends = [at for _, _, at in steps[1:]] + [len(content)]
    said = []
    changes: dict[int, bytes] = {}
    for _ in range(rng.choice([1, 1, 2, 8])):
        k = rng.randrange(len(steps))
        changes[k], what = _other(steps[k][0].name, steps[k][1], rng, content[steps[k][2] : ends[k]])
        said.append(f"{steps[k][2]} {what}")
    parts = (changes.get(k, content[at:end]) for k, ((_, _, at), end) in enumerate(zip(steps, ends, strict=True)))
    _written({**entries, "data.pkl": b"".join(parts)}, path)
    return ", ".join(said)


def _other(name: str, argument: Any, rng: Random, given: bytes) -> tuple[bytes, str]:
    """Another instruction in the place of one."""
    if name.startswith("BININT"):
        number = rng.choice([*NUMBERS, argument + 1, argument * 2])
        return (b"J" + struct.pack("<i", max(-(2**31), min(number, 2**31 - 1))), f"{argument} -> {number}")
    if name == "BINFLOAT":
        number = rng.choice([*FLOATS, argument * 2])
        return b"G" + struct.pack(">d", number), f"{argument} -> {number}"
    if name == "BINUNICODE" and rng.random() < 0.7:
        word = rng.choice(WORDS).encode()
        return b"X" + struct.pack("<I", len(word)) + word, f"{argument!r:.30} -> {word!r:.30}"
    if name == "GLOBAL":
        other = rng.choice(GLOBALS)
        return b"c" + other.replace(" ", "\n").encode() + b"\n", f"{argument} -> {other}"
    other = rng.choice([b"", b"N", b")", b"}", b"]", given * 2, b"\x88", b"h\x00", b"0", b"(", b"t", b"R", b"b"])
    return other, f"{name} -> {other!r:.20}"


def _noise(entries: dict[str, bytes], rng: Random, path: Path, canary: Path) -> str:
    """Bytes of the pickle."""
    content = bytearray(entries["data.pkl"])
    for _ in range(rng.choice([1, 3, 30])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    _written({**entries, "data.pkl": bytes(content)}, path)
    return ""


def _numbers(entries: dict[str, bytes], rng: Random, path: Path, canary: Path) -> str:
    """The numbers of a tensor."""
    name = rng.choice([name for name in entries if name.startswith("data/")])
    content = bytearray(entries[name])
    kind = rng.choice(["nan", "flip", "cut", "more", "lost", "zero"])
    if kind in ("nan", "flip", "zero") and len(content) >= 8:
        begin = 8 * rng.randrange(len(content) // 8)
        content[begin : begin + 8] = {"nan": b"\xff" * 8, "flip": rng.randbytes(8), "zero": bytes(8)}[kind]
    elif kind == "cut":
        del content[len(content) // 2 :]
    elif kind == "more":
        content += bytes(64)
    entries[name] = bytes(content)
    if kind == "lost":
        del entries[name]
    _written(entries, path)
    return f"{kind} {name}"


def _archive(entries: dict[str, bytes], rng: Random, path: Path, canary: Path) -> str:
    """Entries of the archive."""
    kind = rng.choice(["compressed", "renamed", "added", "removed", "order"])
    name = rng.choice(list(entries))
    if kind == "renamed":
        entries[rng.choice(["data.pkl", "x", "data/0", "", "../x", "code/a"])] = entries.pop(name)
    elif kind == "added":
        entries[rng.choice(["data/9999", "constants.pkl", ".data/extern_modules", "x" * 3000])] = rng.randbytes(100)
    elif kind == "removed":
        del entries[name]
    elif kind == "order":
        entries["byteorder"] = rng.choice([b"big", b"", b"\xff" * 100])
    _written(entries, path, zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED)
    return f"{kind} {name}"


def _hostile(entries: dict[str, bytes], rng: Random, path: Path, canary: Path) -> str:
    """Code in the pickle."""
    code = pickle.dumps(_Boom(canary), rng.randrange(5))
    content = entries["data.pkl"]
    at = rng.choice([at for _, _, at in pickletools.genops(content) if at])
    kind = rng.choice(["alone", "inside", "before", "in a dict", "torch"])
    if kind == "torch":
        torch.save({"model": _Boom(canary), "state_dict": 1}, path)
        return kind
    inner = code[2:-1] if code[:1] == b"\x80" else code[:-1]
    entries["data.pkl"] = {
        "alone": code,
        "inside": content[:at] + inner + b"0" + content[at:],
        "before": content[:2] + inner + b"0" + content[2:],
        "in a dict": pickle.dumps({"model": {"products.0.linear.weight": _Boom(canary)}}),
    }[kind]
    _written(entries, path)
    return f"{kind} {at}"


CHANGES: dict[str, Callable[[dict[str, bytes], Random, Path, Path], str]] = {
    "bytes": _bytes,
    "instructions": _instructions,
    "more instructions": _instructions,
    "noise": _noise,
    "numbers": _numbers,
    "archive": _archive,
    "hostile": _hostile,
}

AREA = Area("conversions", prepare, case, cases=40)
