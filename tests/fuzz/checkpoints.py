"""Checkpoints, prepared data and the other files of a run's folder, with changed content, before the run goes on.

Digests are computed anew, since they are no protection against a writer.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from rich.console import Console
from safetensors.torch import load, save
from support.fuzzing import Area, Case, Outcome
from support.runs import changed, run

from e3frame.cli import main
from e3frame.config.run import RunConfig
from e3frame.data.pipeline import dataset, disk
from e3frame.spec.validate import validate
from e3frame.training import checkpoint

CANARY = "canary-that-a-pickle-leaves"
MODEL = {
    "r_max": 3.0,
    "layers": {
        "species": {"kind": "species_embedding", "irreps_out": "4x0e"},
        "edge_sh": {"kind": "spherical_harmonics", "irreps_out": "0e"},
        "radial": {"kind": "radial_basis", "num_basis": 2},
        "conv": {"kind": "convolution", "of": "species", "irreps_out": "4x0e", "radial_mlp": [2]},
        "readout": {"kind": "linear", "irreps_out": "0e"},
    },
    "outputs": {"energy": {"kind": "sum", "of": "readout", "per_species_scale_shift": "auto"}},
}


class State(NamedTuple):
    """What all cases share.

    Attributes:
        folder: holds ``memory`` and ``disk``, stopped after two checkpoints, ``memory-done`` and ``disk-done``, which
            came to their end, and their caches.
    """

    folder: Path


def _config(folder: Path, storage: str) -> RunConfig:
    frames = folder / "frames.xyz"
    if not frames.exists():
        lines = []
        for k in range(12):
            lines += ["3", f'Properties=species:S:1:pos:R:3 energy={-10 + 0.1 * k} pbc="F F F"']
            lines += ["O 0 0 0", f"H {0.95 + 0.01 * k} 0 0", f"H -0.2 {0.93 - 0.01 * k} 0"]
        frames.write_text("\n".join(lines) + "\n")
    raw = changed(
        {
            "model": MODEL,
            "data": {"kind": "xyz", "path": str(frames), "split": {"val": 2, "test": 2}, "batch_size": 4}
            | {"cache_dir": str(folder / f"cache-{storage}"), "storage": storage, "preflight": "off"},
            "task.targets": {"energy": {"irreps": "0e", "per": "graph", "per_atom": True}},
            "trainer.max_epochs": 3,
        }
    )
    return validate(RunConfig, raw)


def _prepare(folder: Path) -> State:
    torch.set_num_threads(1)
    # Which read nothing of the files that are changed, and cost more than all the rest.
    module = import_module("e3frame.run.training")
    module.draw, module.write_page = (lambda *_: None for _ in range(2))
    quiet = Console(file=io.StringIO())
    for storage in ("memory", "disk"):
        config = _config(folder, storage)
        _stopped(config, folder / storage, quiet)
        run(config, folder / f"{storage}-done", quiet)
    return State(folder)


def _stopped(config: RunConfig, folder: Path, console: Console) -> None:
    from lightning.pytorch.callbacks import Callback

    from e3frame.spec.errors import UserError

    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            if trainer.global_step == 5:
                raise UserError("stopped")

    try:
        run(config, folder, console, [Stop()])
    except UserError:
        return
    raise AssertionError("the run was not stopped")


# --- values


def _values(random: Random) -> Any:
    numbers = [0, -1, 1, 2, 10**18, -(10**18), 10**400, 0.5, -0.5, float("inf"), float("nan")]
    texts = ["", "x", "\x1b[31mred", "é" * 300, "[" * 3000 + "]" * 3000, "torch.float32", "float64", "object"]
    nested = [[], {}, [1, 2], {"a": 1}, {"$tensor": "no"}, {"$tensor": []}, {"$tuple": 1}, [2, -1], [-1, -1]]
    return random.choice([None, True, False, *numbers, *texts, *nested, {"$items": [1]}, {"$items": [[[], 1]]}])


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        found += [place for key in value for place in _places(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [place for k in range(len(value)) for place in _places(value[k], (*path, k))]
    return found


def _mutated(content: Any, random: Random) -> tuple[Any, str]:
    """The content with one place removed, renamed or replaced; and which."""
    place = random.choice(_places(content))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    act = random.choice(["remove", "replace", "replace", "replace", "rename", "double"])
    if act == "remove":
        del inner[place[-1]]
    elif act == "rename" and isinstance(inner, dict):
        inner[random.choice(["x", "", "$tensor", "é", "0"])] = inner.pop(place[-1])
    elif act == "double" and isinstance(inner, list):
        inner.append(inner[place[-1]])
    elif isinstance(inner[place[-1]], int | float) and random.random() < 0.4:
        inner[place[-1]] = random.choice([-1, 3, 1000]) * (inner[place[-1]] + 1)
    else:
        inner[place[-1]] = _values(random)
    return content, f"{act} {'.'.join(map(str, place))[:100]}"


# --- checkpoints


def _header(path: Path, random: Random) -> str:
    """Change what the header says, with the right digest."""
    header, data = checkpoint._split(path.read_bytes())
    metadata = header["__metadata__"]
    metadata.pop("digest")
    unpacked = {key: json.loads(text) if key != "format" else text for key, text in metadata.items()}
    which = random.choice(["state", "state", "state", "about", "all", "tensors"])
    if which == "all":
        unpacked, said = _mutated(unpacked, random)
    elif which == "tensors":
        header, said = _mutated(header, random)
        unpacked = header.get("__metadata__", unpacked) if isinstance(header, dict) else unpacked
    else:
        unpacked[which], said = _mutated(unpacked[which], random)
    if which != "tensors" and isinstance(unpacked, dict):
        header["__metadata__"] = {k: v if isinstance(v, str) else json.dumps(v) for k, v in unpacked.items()}
    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        header["__metadata__"].pop("digest", None)
        header["__metadata__"]["digest"] = checkpoint._digest(header, data)
    path.write_bytes(checkpoint._join(header, data))
    return f"{which}: {said}"


def _tensor(path: Path, random: Random) -> str:
    """Change a tensor, with the right digest."""
    header, _ = checkpoint._split(path.read_bytes())
    metadata = header["__metadata__"]
    metadata.pop("digest")
    tensors = load(path.read_bytes())
    name, act = _changed_tensor(tensors, random)
    header, data = checkpoint._split(save(tensors, metadata))
    header["__metadata__"]["digest"] = checkpoint._digest(header, data)
    path.write_bytes(checkpoint._join(header, data))
    return f"tensor {name}: {act}"


def _changed_tensor(tensors: dict[str, torch.Tensor], random: Random) -> tuple[str, str]:
    name = random.choice(sorted(tensors))
    held = tensors[name]
    act = random.choice(["drop", "dtype", "flat", "longer", "empty", "huge", "negative", "nan", "shifted"])
    if act == "drop":
        del tensors[name]
    elif act == "dtype":
        tensors[name] = held.to(random.choice([torch.float16, torch.int8, torch.float64, torch.bool, torch.int64]))
    elif act == "flat":
        tensors[name] = held.flatten()[None]
    elif act == "longer":
        tensors[name] = torch.cat([held.flatten(), held.flatten()])
    elif act == "empty":
        tensors[name] = held.flatten()[:0]
    elif act == "nan" and held.is_floating_point():
        tensors[name] = held * float("nan")
    elif held.dtype != torch.bool:
        change = {"huge": 10**6, "negative": -1}.get(act, 1)
        tensors[name] = held * change if act in ("huge", "negative") else held + change
    return name, act


# --- prepared data


def _cache_memory(path: Path, random: Random) -> str:
    tensors = load(path.read_bytes())
    name, act = _changed_tensor(tensors, random)
    path.write_bytes(save(tensors, metadata={"digest": dataset._digest(tensors)}))
    return f"{name}: {act}"


def _cache_disk(path: Path, random: Random) -> str:
    with closing(sqlite3.connect(path)) as table:
        keys, *counts, _ = table.execute("SELECT * FROM contents").fetchone()
        act = random.choice(["keys", "counts", "row", "row", "drop", "columns"])
        said = act
        if act == "keys":
            changed_keys, said = _mutated(json.loads(keys), random)
            keys = json.dumps(changed_keys)
        elif act == "counts":
            which = random.randrange(2)
            counts[which] = random.choice(
                [counts[which][:-8], counts[which] * 2, counts[which][:-3], b"", bytes(len(counts[which]))]
            )
        elif act == "row":
            said = _row(table, random)
        elif act == "drop":
            table.execute(f"DELETE FROM {disk.DiskDataset.__name__} WHERE id = {random.randrange(12)}")
        else:
            table.execute("ALTER TABLE contents ADD COLUMN more TEXT")
        digest = disk._digest(keys, *counts)
        if act != "columns":
            table.execute("DELETE FROM contents")
            table.execute("INSERT INTO contents VALUES (?, ?, ?, ?)", (keys, *counts, digest))
        table.commit()
    return said


def _row(table: sqlite3.Connection, random: Random) -> str:
    name, number = disk.DiskDataset.__name__, random.randrange(12)
    _, *columns, _ = table.execute(f"SELECT * FROM {name} WHERE id = {number}").fetchone()
    which = random.randrange(len(columns))
    value = columns[which] if isinstance(columns[which], bytes) else b"?"
    columns[which] = random.choice([value * 2, value[:-8], value[:-1], b"", b"\x7f" * len(value), b"\xff" * len(value)])
    names = [row[1] for row in table.execute(f"PRAGMA table_info({name})")]
    checksum = disk._checksum(columns)
    settings = ", ".join(f"{column} = ?" for column in names[1:])
    table.execute(f"UPDATE {name} SET {settings} WHERE id = ?", (*columns, checksum, number))
    return f"column {which} of frame {number}"


# --- any file


class _Canary:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


def _any(path: Path, random: Random) -> str:
    """What may happen to any file."""
    content = path.read_bytes()
    kind = random.choice(
        ["cut", "byte", "empty", "noise", "pickle", "fifo", "folder", "link", "zip", "long header", "deep", "text"]
    )
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(random.choice([path.name, "nowhere", "/dev/zero", "/dev/null"]))
    else:
        at = random.randrange(max(len(content), 1))
        path.write_bytes(
            {
                "cut": content[:at],
                "byte": content[:at] + bytes([random.randrange(256)]) + content[at + 1 :],
                "empty": b"",
                "noise": random.randbytes(1000),
                "pickle": pickle.dumps({"state_dict": _Canary()}),
                "zip": b"PK\x03\x04" + content,
                "long header": (2 ** random.choice([20, 40, 63])).to_bytes(8, "little") + content[8:],
                "deep": (100_000).to_bytes(8, "little") + b"[" * 100_000,
                "text": "".join(chr(random.randrange(1, 300)) for _ in range(400)).encode(),
            }[kind]
        )
    return kind


def _text(path: Path, random: Random) -> str:
    """A changed word or line of a text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        try:
            content, said = _mutated(json.loads(text), random)
            path.write_text(json.dumps(content))
        except (IndexError, ValueError):
            return "as it was"
        return said
    lines = text.splitlines()
    k = random.randrange(len(lines))
    lines[k] = random.choice(["", lines[k] * 3, lines[k][:-3], f"{lines[k]} &x", "a: &a [*a]", "\x00", f"  {lines[k]}"])
    path.write_text("\n".join(lines))
    return f"line {k}"


def _case(state: State, random: Random, number: int, folder: Path) -> Case:
    storage = random.choice(["memory", "memory", "disk"])
    ended = random.random() < 0.15
    shutil.copytree(state.folder / f"cache-{storage}", folder / f"cache-{storage}")
    source = state.folder / (f"{storage}-done" if ended else storage)
    shutil.copytree(source, folder / "run.1")
    config = folder / "run.1" / "config.yaml"
    config.write_text(config.read_text().replace(str(state.folder / "cache"), str(folder / "cache")))
    cache = next((folder / f"cache-{storage}").glob(f"*.{'safetensors' if storage == 'memory' else 'db'}"))
    newest = max((folder / "run.1" / "checkpoints").iterdir())
    choice = random.random()
    act: Callable[[Path, Random], str]
    if choice < 0.4:
        file, act = newest, random.choice([_header, _header, _tensor])
    elif choice < 0.6:
        file, act = cache, _cache_memory if storage == "memory" else _cache_disk
    elif choice < 0.75:
        file, act = random.choice([newest, cache]), _any
    elif choice < 0.88:
        file, act = random.choice(_files(folder / "run.1")), _any
    else:
        file, act = (
            random.choice([f for f in _files(folder / "run.1") if f.suffix in (".json", ".csv", ".yaml")]),
            _text,
        )
    said = f"{file.relative_to(folder)} {act(file, random)}"
    if ended and (folder / "run.1" / "metrics.json").is_file():
        (folder / "run.1" / "metrics.json").unlink()

    def verdict(outcome: Outcome) -> str | None:
        return "a pickle ran" if (folder / CANARY).exists() else None

    return Case(said, _train, verdict)


def _train() -> int:
    """What a run says on the way is no message."""
    with redirect_stdout(io.StringIO()):
        return main(["train", "run.1"])


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


AREA = Area("checkpoints", _prepare, _case, cases=12)
