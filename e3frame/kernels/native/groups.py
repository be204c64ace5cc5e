"""Edges grouped by node and rows grouped by index, for the kernels.

All layers and derivatives of a batch read the same ``edge_index`` and the same index of species. Each is grouped once,
when a kernel first sees it; the groups live as long as the tensor. If its numbers change, it is grouped again. torch
counts only its own writes, not those of NumPy or of others that share the memory. Kernels therefore read copies, and
each call compares the tensor with its copy, which takes much less time than grouping or any kernel.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from e3frame.kernels.native import library

Struct = TypeVar("Struct", library.Edges, library.Rows)


class _Known(Generic[Struct]):
    """Groups of a tensor. ``struct`` points to the tensors in ``kept``, which must not be the tensor or its views."""

    struct: Struct

    def __init__(
        self, tensor: Tensor, copy: Tensor, sizes: tuple[int, ...], struct: Struct, kept: tuple[Tensor, ...]
    ) -> None:
        self.version, self.copy, self.sizes, self.struct, self.kept = _version(tensor), copy, sizes, struct, kept
        struct.kept = kept


_known: WeakIdKeyDictionary = WeakIdKeyDictionary()
_pairs: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _version(tensor: Tensor) -> int | None:
    """How often torch has written to the tensor; None for tensors for which it does not count."""
    return None if tensor.is_inference() else tensor._version


def _recall(tensor: Tensor, sizes: tuple[int, ...]) -> _Known[Any] | None:
    known: _Known[Any] | None = _known.get(tensor)
    if known is None or known.sizes != sizes or known.version != _version(tensor):
        return None
    return known if library.same(known.copy, tensor) else None


def edges(edge_index: Tensor, num_sources: int, num_targets: int) -> library.Edges:
    """Group edges ``(2, e)`` by target and by source.

    Raises:
        ValueError: the index is not int64, or the number of nodes is negative.
        IndexError: a node is out of range.
    """
    sizes = (num_sources, num_targets)
    known: _Known[library.Edges] | None = _recall(edge_index, sizes)
    if known is None:
        with torch.inference_mode(False):  # later calls may need them outside of inference mode
            index = _copied(edge_index)
            target_ptr, by_target = library.group(index[1], num_targets)
            source_ptr, by_source = library.group(index[0], num_sources)
        kept = (index[0], index[1], by_target, target_ptr, by_source, source_ptr)
        struct = library.Edges(index.shape[1], *sizes, *(tensor.data_ptr() for tensor in kept))
        known = _known[edge_index] = _Known(edge_index, index, sizes, struct, kept)
    return known.struct


def rows(index: Tensor, num_indices: int) -> library.Rows:
    """Group rows ``(n,)`` by their index.

    Raises:
        ValueError: the index is not int64, or the number of indices is negative.
        IndexError: an index is out of range.
    """
    return _rows(index, num_indices).struct


def first(index: Tensor, num_indices: int) -> Tensor:
    """Return the first row of each index; for an index without rows, the row of another."""
    return _rows(index, num_indices).kept[2]


def copy(index: Tensor, num_indices: int) -> Tensor:
    """Return the copy of ``index``, whose entries are in range; it must not be written to."""
    return _rows(index, num_indices).copy


def pairs(edge_index: Tensor, edge_shift: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Pair edges ``(2, e)`` with shifts ``(e, 3)`` and their reverses; see `library.pairs`."""
    grouped, known = edges(edge_index, num_nodes, num_nodes), _pairs.get(edge_index)
    if known is not None and known[0] is grouped and library.same(known[1], edge_shift):
        return known[2]
    with torch.inference_mode(False):  # later calls may need them outside of inference mode
        shift = _copied(edge_shift)
        found = library.pairs(grouped, shift)
    _pairs[edge_index] = (grouped, shift, found)
    return found


def _rows(index: Tensor, num_indices: int) -> _Known[library.Rows]:
    sizes = (num_indices,)
    known: _Known[library.Rows] | None = _recall(index, sizes)
    if known is None:
        with torch.inference_mode(False):  # later calls may need them outside of inference mode
            own = _copied(index)
            ptr, order = library.group(own, num_indices)
            firsts = order[ptr[:-1].clamp(max=len(order) - 1)] if len(order) else order
        struct = library.Rows(own.shape[0], order.data_ptr(), ptr.data_ptr())
        known = _known[index] = _Known(index, own, sizes, struct, (ptr, order, firsts))
    return known


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)
