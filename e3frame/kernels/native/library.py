"""The shared library and its C interface, by ctypes."""

from __future__ import annotations

import os
from ctypes import CDLL, POINTER, Structure, byref, c_double, c_int, c_int32, c_int64, c_void_p
from functools import cache

import torch
from torch import Tensor

from e3frame.kernels.native.build import LIBRARY, STATUS

_INTERFACE = 1
INSTRUCTION_SETS = ("base", "avx2", "avx512")


class Term(Structure):
    _fields_ = [(name, c_int32) for name in ("offset", "mul", "dim")]


class Path(Structure):
    _fields_ = [(name, c_int32) for name in ("in_", "out", "y", "weight", "diagonal", "first", "count")]


class Entry(Structure):
    _fields_ = [("element", c_int32), ("j", c_int32), ("c", c_double)]


_SIZES = ("num_in", "num_out", "num_paths", "dim_in", "dim_y", "dim_out", "weight_numel")


class Plan(Structure):
    _fields_ = [
        *((name, c_int32) for name in _SIZES),
        ("in_", POINTER(Term)),
        ("terms_out", POINTER(Term)),
        ("paths", POINTER(Path)),
        ("entries", POINTER(Entry)),
    ]


class Edges(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("num_edges", "num_sources", "num_targets")),
        *((n, c_void_p) for n in ("source", "target", "by_target", "target_ptr", "by_source", "source_ptr")),
    ]


class Tensors(Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("x", "y", "w", "o", "ax", "ay", "aw")),
        *((name, c_int64) for name in ("w_step", "aw_step")),
        *((name, c_void_p) for name in ("out", "gx", "gy", "gw")),
    ]


@cache
def load() -> CDLL | None:
    """The library, or None where there is none that fits."""
    if not LIBRARY.exists():
        return None
    try:
        library = CDLL(str(LIBRARY))
    except OSError:
        return None
    if library.e3_interface() != _INTERFACE:
        return None
    library.e3_convolve.argtypes = [POINTER(Plan), POINTER(Edges), POINTER(Tensors), c_int, c_int, c_int]
    library.e3_group.argtypes = [c_void_p, c_int64, c_int64, c_void_p, c_void_p]
    library.e3_group.restype = c_int64
    return library


def status() -> str:
    """What is there, or why there is nothing, in one line."""
    written = STATUS.read_text(encoding="utf-8").strip() if STATUS.exists() else "not built"
    library = load()
    if library is None:
        return f"{LIBRARY.name} cannot be loaded, install the package again" if LIBRARY.exists() else written
    return f"{written}; this processor runs {INSTRUCTION_SETS[isa()]}"


@cache
def isa() -> int:
    """The instruction set to use: the processor's best, or at most that of ``E3FRAME_ISA`` (base, avx2, avx512)."""
    library = load()
    best = library.e3_best_isa() if library is not None else 0
    wanted = os.environ.get("E3FRAME_ISA")
    if wanted is None:
        return best
    if wanted not in INSTRUCTION_SETS:
        raise ValueError(f"E3FRAME_ISA must be one of {', '.join(INSTRUCTION_SETS)}; got {wanted!r}")
    return min(best, INSTRUCTION_SETS.index(wanted))


def convolve(plan: Plan, edges: Edges, tensors: Tensors, dtype: torch.dtype, *, backward: bool, twice: bool) -> None:
    """Run a kernel; ``tensors`` says where it reads and writes."""
    which = backward + 2 * twice + 4 * (dtype == torch.float64)
    library = load()
    assert library is not None
    if library.e3_convolve(byref(plan), byref(edges), byref(tensors), which, torch.get_num_threads(), isa()):
        raise MemoryError("out of memory in a convolution")


def group(node: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Edges by node: ``order[ptr[n]:ptr[n + 1]]`` are those of node n, in their order.

    Raises:
        IndexError: a node is out of range.
    """
    ptr, order = node.new_empty(num_nodes + 1), torch.empty_like(node)
    library = load()
    assert library is not None
    wrong = library.e3_group(node.data_ptr(), len(node), num_nodes, ptr.data_ptr(), order.data_ptr())
    if wrong >= 0:
        raise IndexError(f"edge {wrong} has the node {int(node[wrong])}, there are {num_nodes} nodes")
    return ptr, order
