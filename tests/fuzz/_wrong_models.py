"""Changes of a model file: of its header, spec, task, tensors and bytes, and other files in its place."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import tarfile
import zipfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

LAYERS: dict[str, Any] = {
    "species": {"kind": "species_embedding", "irreps_out": "4x0e"},
    "edge_sh": {"kind": "spherical_harmonics", "irreps_out": "0e + 1o"},
    "radial": {"kind": "radial_basis", "num_basis": 3},
    "conv": {"kind": "convolution", "irreps_out": "gate(h)", "radial_mlp": [4], "avg_num_neighbors": 2.0},
    "gate": {"kind": "gate"},
    "more": {
        "kind": "repeat",
        "times": 1,
        "layers": {
            "norm": {"kind": "layer_norm"},
            "same": {"kind": "residual", "layers": {"act": {"kind": "activation", "of": "norm"}}},
        },
    },
    "scalars": {"kind": "linear", "of": "gate", "irreps_out": "4x0e"},
    "readout": {"kind": "mlp", "hidden": [4], "irreps_out": "0e"},
}
MODEL: dict[str, Any] = {
    "r_max": 3.0,
    "species": ["H", "O"],
    "irreps": {"h": "4x0e + 2x1o"},
    "layers": {name: layer for name, layer in LAYERS.items() if name != "more"},
    "outputs": {
        "energy": {
            "kind": "sum",
            "of": "readout",
            "per_species_scale_shift": {"scale": 2.0, "shift": {"H": -1.0, "O": -5.0}},
        },
        "forces": {"kind": "negative_gradient", "of": "energy"},
    },
}
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 3.5, 1e308, -1e-300, 10**9, 10**18, 10**40, "", "auto", "0e", "4x0e", "1x0e+1x1o"),
    *(
        "99x99o",
        "10000000x0e",
        "0x0e",
        "x",
        "energy",
        "readout",
        "node",
        "\x1b[31mred\x1b[0m",
        "\u202egnp.exe",
        "\ud800",
    ),
    *("a" * 5000, "../../etc/passwd", [], {}, [[]], {"": 0}, {"kind": "linear"}, {"kind": "no"}, ["H", "H"], ["H"]),
    *(list(range(50)), "fuzz_canary", ["fuzz_canary"], ["os", "fuzz_canary"], {"_target_": "os.system"}, "silu", "nan"),
    *("inf", "1e999", "yes", "gate(h)", "gate(gate(h))", {"0": 1}, "{" * 50),
)
BITS = ("F32", "F64", "I64", "BOOL", "F8_E4M3", "f32", "", None, 4)


@dataclass(frozen=True)
class State:
    header: dict[str, Any]
    data: bytes
    model: Path
    frames: Path
    canary: Path


class _Boom:
    """What a pickle can do to who opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


def _written(state: State, path: Path, header: Any, data: bytes | None = None) -> None:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    path.write_bytes(len(text).to_bytes(8, "little") + text + (state.data if data is None else data))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if len(path) > 40:
        return [path]
    return [path, *(place for key, below in inner for place in _places(below, (*path, key)))]


def _mutated(raw: Any, rng: Random) -> tuple[Any, str]:
    """A value replaced, removed, doubled, renamed, or wrapped, anywhere."""
    raw = deepcopy(raw)
    place = rng.choice(_places(raw)[1:])
    inner = raw
    for key in place[:-1]:
        inner = inner[key]
    key, kind = place[-1], rng.randrange(8)
    value = rng.choice([*VALUES, rng.choice(list(LAYERS.values())), deepcopy(raw)])
    if kind == 0:
        del inner[key]
    elif kind == 1 and isinstance(inner, dict):
        name = rng.choice(["", "kind", "a b", "energy", "\x1b[2J", f"{key}s", "pos", "\ud800"])
        inner[name] = inner.pop(key)
    elif kind == 2 and isinstance(inner, dict):
        inner[rng.choice(["extra", "of", "plugins", "irreps_out", "times", "layers"])] = value
    elif kind == 3:
        for _ in range(rng.choice([1, 10, 100])):
            inner[key] = {"kind": "residual", "layers": {"a": inner[key]}} if rng.random() < 0.7 else [inner[key]]
    elif kind == 4 and isinstance(inner[key], str):
        text = list(inner[key])
        text.insert(rng.randrange(len(text) + 1), rng.choice("0 9xeo+-()[]{}\x00\x1b\u202e\"'\\"))
        inner[key] = "".join(text)
    elif kind == 5 and isinstance(inner[key], int | float) and not isinstance(inner[key], bool):
        inner[key] = rng.choice([-inner[key], inner[key] * 10**6, inner[key] + 1, inner[key] / 2, str(inner[key])])
    else:
        inner[key] = value
    return raw, ".".join(map(str, place))


def _spec(state: State, rng: Random, path: Path, key: str = "spec") -> str:
    header = deepcopy(state.header)
    raw = json.loads(header["__metadata__"][key])
    if key == "spec" and rng.random() < 0.3:
        raw["layers"] = {**LAYERS}
    where = ""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        raw, where = _mutated(raw, rng)
        if not isinstance(raw, dict) or len(_places(raw)) < 2:
            break
    header["__metadata__"][key] = json.dumps(raw)
    _written(state, path, header)
    return f"{key}.{where}"


def _task(state: State, rng: Random, path: Path) -> str:
    return _spec(state, rng, path, "task")


def _text(state: State, rng: Random, path: Path) -> str:
    header = deepcopy(state.header)
    key = rng.choice(list(header["__metadata__"]))
    bad = rng.choice(
        [
            "",
            "{",
            "[]",
            "null",
            "7",
            "2",
            "-1",
            "1e9",
            "99999999999999999999",
            "float64",
            "float16",
            "load",
            "NaN",
            "\x1b[31m",
            "[" * 20000,
            '{"a":' * 5000,
        ]
    )
    if rng.random() < 0.2:
        del header["__metadata__"][key]
    else:
        header["__metadata__"][key] = rng.choice([bad, bad, 7, None, {}, header["__metadata__"][key][:-1]])
    _written(state, path, header)
    return key


def _tensor(state: State, rng: Random, path: Path) -> str:
    header = deepcopy(state.header)
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    kind = rng.choice(["name", "dtype", "shape", "offsets", "entry", "remove", "add", "swap"])
    entry = header[name]
    if kind == "name":
        header[rng.choice(["", "x", name + ".x", "layers", "\x1b[31m", "a" * 3000, "\ud800"])] = header.pop(name)
    elif kind == "dtype":
        entry["dtype"] = rng.choice(BITS)
    elif kind == "shape":
        entry["shape"] = rng.choice(
            [
                [],
                [0],
                [-1],
                [1 << 60],
                [1 << 32, 1 << 32],
                [*reversed(entry["shape"])],
                [*entry["shape"], 1],
                None,
                "x",
                [1.5],
                [True],
                [[]],
                [1] * 10**5,
            ]
        )
    elif kind == "offsets":
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = rng.choice(
            [
                [end, begin],
                [begin, end + 4],
                [begin - 4, end],
                [0, 1 << 62],
                [0, 10**30],
                [-8, 0],
                [begin],
                [],
                None,
                [begin, end, 0],
                ["a", "b"],
                [0, 0],
            ]
        )
    elif kind == "entry":
        header[name] = rng.choice(VALUES)
    elif kind == "remove":
        del header[name]
    elif kind == "add":
        header[rng.choice(["z", "layers.z.weight"])] = {
            "dtype": "F32",
            "shape": [0],
            "data_offsets": [len(state.data)] * 2,
        }
    else:
        other = rng.choice(names)
        header[name], header[other] = header[other], header[name]
    _written(state, path, header)
    return f"{kind} of {name}"


def _header(state: State, rng: Random, path: Path) -> str:
    raw, where = _mutated(state.header, rng)
    _written(state, path, raw)
    return where


def _bytes(state: State, rng: Random, path: Path) -> str:
    content = bytearray(state.model.read_bytes())
    kind = rng.choice(["flip", "cut", "more", "noise", "length", "zeros", "number"])
    end = 8 + int.from_bytes(content[:8], "little")
    if kind == "flip":
        for _ in range(rng.choice([1, 3, 100])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "more":
        content += rng.randbytes(rng.choice([1, 8, 4096]))
    elif kind == "noise":
        content[:] = rng.randbytes(rng.choice([0, 1, 8, 9, 100, 5000]))
    elif kind == "length":
        content[:8] = rng.choice([0, 1, end, len(content), 1 << 24, 1 << 40, (1 << 64) - 1]).to_bytes(8, "little")
    elif kind == "zeros":
        begin = rng.randrange(end, len(content))
        content[begin : begin + 64] = bytes(min(64, len(content) - begin))
    else:
        begin = end + 4 * rng.randrange((len(content) - end) // 4)
        content[begin : begin + 4] = rng.choice([b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f"])
    path.write_bytes(content)
    return kind


def _other(state: State, rng: Random, path: Path) -> str:
    """Something else under the name."""
    kind = rng.choice(
        [
            "pickle",
            "torch",
            "zip",
            "tar",
            "text",
            "yaml",
            "sparse",
            "fifo",
            "device",
            "folder",
            "socket",
            "run",
            "nothing",
            "loop",
            "link",
        ]
    )
    boom = {"state_dict": _Boom(state.canary)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(boom))
    elif kind == "torch":
        torch.save(boom, path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps(boom))
    elif kind == "tar":
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("data.pkl"), io.BytesIO())
    elif kind == "text":
        path.write_text("not a model\n" * rng.choice([0, 1, 1000]))
    elif kind == "yaml":
        path.write_text(json.dumps(MODEL))
    elif kind == "sparse":
        with path.open("wb") as file:
            file.write((rng.choice([100, 1 << 39])).to_bytes(8, "little"))
            file.truncate(1 << 40)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(rng.choice(["/dev/zero", "/dev/null", "/dev/full", "/dev/tty", "/dev/stdin"]))
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        here = os.getcwd()  # the name of a socket may have a hundred letters
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as plug:
            plug.bind(path.name)
        os.chdir(here)
    elif kind == "run":
        path.mkdir()
        inner = path / rng.choice(["model.safetensors", "2026-01-01_00-00-00"])
        inner.mkdir()
        (path / "config.yaml").write_text(rng.choice(["", "a: b", "\x00"]))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "link":
        path.symlink_to("nowhere")
    return kind


CHANGES: dict[str, Callable[[State, Random, Path], str]] = {
    "spec": _spec,
    "spec again": _spec,
    "spec once more": _spec,
    "task": _task,
    "text": _text,
    "tensor": _tensor,
    "tensor again": _tensor,
    "header": _header,
    "bytes": _bytes,
    "bytes again": _bytes,
    "other": _other,
}
