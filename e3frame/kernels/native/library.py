"""The shared library and its C interface through ctypes; ``plan.hpp`` documents the structures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Array,
    Structure,
    byref,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_void_p,
)
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from e3frame.algebra.environment import INSTRUCTION_SETS, wanted_instruction_set
from e3frame.kernels.native.build import LIBRARY, STATUS, is_ours

_INTERFACE = 6
_FUNCTIONS = ("e3_best_isa", "e3_kernels_for", "e3_group", "e3_pairs")
_PROCESS = os.getpid()
# The operators of torch would wait for threads that did not survive a fork, too.
os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def _fields(kind: type, names: str) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


class Term(Structure):
    _fields_ = _fields(c_int32, "offset mul dim")


class Path(Structure):
    _fields_ = _fields(c_int32, "i_in i_out y weight diagonal first count")


class Entry(Structure):
    _fields_ = [*_fields(c_int32, "element j"), ("c", c_double)]


class Plan(Structure):
    _fields_ = [
        *_fields(c_int32, "num_in num_out num_paths dim_in dim_y dim_out weight_numel"),
        *_fields(POINTER(Term), "terms_in terms_out"),
        ("paths", POINTER(Path)),
        ("entries", POINTER(Entry)),
    ]


class Edges(Structure):
    _fields_ = [
        *_fields(c_int64, "num_edges num_sources num_targets"),
        *_fields(c_void_p, "source target by_target target_ptr by_source source_ptr"),
    ]


class Tensors(Structure):
    _fields_ = [
        *_fields(c_void_p, "x y w o ax ay aw"),
        *_fields(c_int64, "w_step aw_step"),
        *_fields(c_void_p, "out gx gy gw rows"),
        ("num_rows", c_int64),
    ]


class Map(Structure):
    _fields_ = [*_fields(c_int32, "i_in i_out"), *_fields(c_int64, "weight index_step row_step"), ("c", c_double)]


class Linear(Structure):
    _fields_ = [
        *_fields(c_int32, "num_in num_out num_paths num_indices"),
        *_fields(POINTER(Term), "terms_in terms_out"),
        ("paths", POINTER(Map)),
    ]


class Rows(Structure):
    _fields_ = [("count", c_int64), *_fields(c_void_p, "order ptr")]


class Act(Structure):
    _fields_ = [("kind", c_int32), *_fields(c_double, "a c")]


class Scalars(Structure):
    _fields_ = [*_fields(c_int32, "start out mul"), ("act", Act)]


class Gated(Structure):
    _fields_ = [*_fields(c_int32, "gate start out mul dim"), ("act", Act)]


class Gate(Structure):
    _fields_ = [
        *_fields(c_int32, "dim_in dim_out num_scalars num_gated"),
        ("scalars", POINTER(Scalars)),
        ("gated", POINTER(Gated)),
    ]


class HarmonicsStep(Structure):
    _fields_ = [*_fields(c_int32, "out y x"), ("c", c_double)]


class Harmonics(Structure):
    _fields_ = [
        *_fields(c_int32, "lmax normalize dim_out num_steps"),
        *_fields(c_double, "constant linear"),
        ("chosen", POINTER(c_int32)),
        ("steps", POINTER(HarmonicsStep)),
    ]


class Radial(Structure):
    _fields_ = [*_fields(c_int32, "basis num envelope p"), ("r_max", c_double)]


class Pair(Structure):
    _fields_ = _fields(c_int32, "i j")


class Group(Structure):
    _fields_ = _fields(c_int32, "a k first count")


class Symmetric(Structure):
    _fields_ = [
        *_fields(c_int32, "mul num_in num_out dim_in dim_out"),
        *_fields(c_int32, "num_values num_groups num_leaves num_couplings"),
        *_fields(POINTER(Term), "terms_in terms_out"),
        ("pairs", POINTER(Pair)),
        ("groups", POINTER(Group)),
        *_fields(POINTER(c_int32), "by_output output_ptr b ptr coupling"),
        ("factor", POINTER(c_double)),
    ]


class SymmetricTensors(Structure):
    _fields_ = [("num_indices", c_int64), *_fields(c_void_p, "x w o ax aw out gx gw")]


_UNARY = CFUNCTYPE(c_int, c_void_p, c_int, *[c_void_p] * 5, c_int64, c_int)


class Kernels(Structure):
    """The functions for one instruction set and one floating-point type."""

    _fields_ = [
        ("convolve", CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_int)),
        ("linear", CFUNCTYPE(c_int, *[c_void_p] * 5, c_int, c_int)),
        ("linear_weights", CFUNCTYPE(c_int, *[c_void_p] * 5, c_int)),
        ("activate", _UNARY),
        ("gate", _UNARY),
        ("harmonics", _UNARY),
        ("radial", _UNARY),
        ("differences", CFUNCTYPE(c_int, *[c_void_p] * 4, c_int)),
        ("differences_transposed", CFUNCTYPE(c_int, *[c_void_p] * 3, c_int)),
        ("symmetric_product", CFUNCTYPE(c_int, *[c_void_p] * 3, c_int, c_int)),
    ]


def array(kind: type[Structure] | type[c_int32] | type[c_double], items: Sequence[Any]) -> Array[Any]:
    """Return a C array of the items, of length 1 if there are none."""
    return (kind * max(len(items), 1))(*items)


def require(fits: bool, kind: str, text: str) -> None:
    """Raise a ValueError unless the parts of a text fit together: kernels do not check them, and texts may come from
    files, such as exported programs."""
    if not fits:
        raise ValueError(f"{kind} whose parts do not fit together: {text!r}")


@cache
def load() -> CDLL | None:
    """Return the library, or None if there is none; a file that cannot be loaded causes a warning."""
    library = _open() if LIBRARY.exists() else None
    if library is None:
        if LIBRARY.exists():
            warnings.warn(f"{_unfit()}; until then the kernels in plain torch run, which are slower", stacklevel=2)
        return None
    library.e3_kernels_for.restype = POINTER(Kernels)
    library.e3_group.argtypes = [c_void_p, c_int64, c_int64, c_void_p, c_void_p]
    library.e3_group.restype = c_int64
    library.e3_pairs.argtypes = [c_void_p, c_void_p, c_int, c_void_p, c_void_p]
    library.e3_pairs.restype = c_int64
    return library


def _open() -> CDLL | None:
    """Return the library if it is ours, complete, and of this version."""
    if not is_ours(LIBRARY):
        return None
    try:
        library = CDLL(str(LIBRARY))
        fits = library.e3_interface() == _INTERFACE and all(hasattr(library, name) for name in _FUNCTIONS)
    except (OSError, AttributeError):
        return None
    return library if fits else None


def _unfit() -> str:
    return f"{LIBRARY.name} cannot be loaded, install the package again"


def status() -> str:
    """One line: what was built and what this processor runs, or why there is no library."""
    written = STATUS.read_text(encoding="utf-8").strip() if STATUS.exists() else "not built"
    if load() is None:
        return _unfit() if LIBRARY.exists() else written
    return f"{written}; this processor runs {INSTRUCTION_SETS[instruction_set()]}"


@cache
def instruction_set() -> int:
    """Number of the instruction set to use: the best of the processor, but not above ``E3FRAME_ISA``."""
    library, wanted = load(), wanted_instruction_set()
    best = library.e3_best_isa() if library is not None else 0
    return best if wanted is None else min(best, INSTRUCTION_SETS.index(wanted))


def threads() -> int:
    """Number of threads of a kernel: that of torch, but 1 in a process forked from the one that loaded the library.

    The threads of OpenMP do not survive a fork, and a kernel would wait for them forever.
    """
    return torch.get_num_threads() if os.getpid() == _PROCESS else 1


@cache
def kernels(dtype: torch.dtype) -> SimpleNamespace:
    """Return the functions of `Kernels` for float32 or float64. A structure would create them at each access.

    Raises:
        ValueError: another type.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"native kernels run in float32 and float64, got {dtype}")
    library = load()
    assert library is not None
    found = library.e3_kernels_for(instruction_set(), dtype == torch.float64).contents
    return SimpleNamespace(**{name: getattr(found, name) for name, *_ in Kernels._fields_})


def check(failed: int) -> None:
    """Raise if a native call failed."""
    if failed:
        raise MemoryError("out of memory in a native kernel")


def group(node: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Group entries by node: return ptr and order, where ``order[ptr[n]:ptr[n + 1]]`` are the entries of node n.

    Raises:
        ValueError: the index is not int64, not on the CPU, or has more than one axis.
        IndexError: a node is out of range.
    """
    if node.dtype != torch.int64 or node.ndim != 1 or not node.is_cpu:
        given = f"{node.dtype} on {node.device.type} of shape {tuple(node.shape)}"
        raise ValueError(f"an index must be int64 on the CPU, one for each row, got {given}")
    if num_nodes < 0:
        raise ValueError(f"the number of nodes or indices must not be negative, got {num_nodes}")
    ptr, order = node.new_empty(num_nodes + 1), torch.empty_like(node)
    library = load()
    assert library is not None
    wrong = library.e3_group(node.data_ptr(), len(node), num_nodes, ptr.data_ptr(), order.data_ptr())
    if wrong >= 0:
        raise IndexError(f"entry {wrong} has the index {int(node[wrong])}, which is not below {num_nodes}")
    return ptr, order


_memcmp = CDLL(None).memcmp
_memcmp.argtypes = [c_void_p, c_void_p, c_size_t]


def same(copy: Tensor, tensor: Tensor) -> bool:
    """Whether a tensor has the shape, the type and the numbers of its contiguous copy, bit for bit."""
    if copy.shape != tensor.shape or copy.dtype != tensor.dtype or not tensor.is_cpu:
        return False
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    return _memcmp(copy.data_ptr(), tensor.data_ptr(), copy.nbytes) == 0


def pairs(edges: Edges, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Number the pairs of an edge and its reverse: return the row of each edge, and the first edge of each row.

    Args:
        shift: (e, 3), contiguous float32 or float64; that of the reverse is exactly its negative.
    """
    rows, firsts = (torch.empty(edges.num_edges, dtype=torch.int64, device="cpu") for _ in range(2))
    library = load()
    assert library is not None
    double = shift.dtype == torch.float64
    count = library.e3_pairs(byref(edges), shift.data_ptr(), double, rows.data_ptr(), firsts.data_ptr())
    return rows, firsts[:count].clone()
