"""Edges by node and rows by index, for the kernels.

A batch has one ``edge_index``, and one index of species, which every layer and every derivative reads: each is grouped
once, when a kernel first meets it, and forgotten with the tensor. A tensor that was written to is grouped again. What
torch does not see, such as a write through NumPy, goes unnoticed but does no harm: the kernels read copies.
"""

from __future__ import annotations

from ctypes import Structure
from weakref import ref

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from e3frame.kernels.native import library


class _Known:
    """What is known of a tensor; ``kept`` is what ``struct`` points to, and must not hold the tensor or views of it."""

    def __init__(
        self, state: tuple | None, sizes: tuple[int, ...], struct: Structure, kept: tuple[Tensor, ...]
    ) -> None:
        self.state, self.sizes, self.struct, self.kept = state, sizes, struct, kept
        struct.kept = kept


_known: WeakIdKeyDictionary = WeakIdKeyDictionary()
_pairs: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _state(tensor: Tensor) -> tuple | None:
    """Changes when the tensor is written to, resized, or given other memory; None if no one counts that."""
    return None if tensor.is_inference() else (tensor._version, tensor.data_ptr(), tensor.shape)


def _recall(tensor: Tensor, state: tuple | None, sizes: tuple[int, ...]) -> _Known | None:
    known = None if state is None else _known.get(tensor)
    return known if known is not None and known.sizes == sizes and known.state == state else None


def edges(edge_index: Tensor, num_sources: int, num_targets: int) -> library.Edges:
    """The edges ``(2, e)`` by target and by source.

    Raises:
        ValueError: not integers of 64 bits.
        IndexError: a node is out of range.
    """
    sizes, state = (num_sources, num_targets), _state(edge_index)
    known = _recall(edge_index, state, sizes)
    if known is None:
        index = edge_index.detach().clone(memory_format=torch.contiguous_format)
        target_ptr, by_target = library.group(index[1], num_targets)
        source_ptr, by_source = library.group(index[0], num_sources)
        kept = (index[0], index[1], by_target, target_ptr, by_source, source_ptr)
        struct = library.Edges(index.shape[1], *sizes, *(tensor.data_ptr() for tensor in kept))
        known = _Known(state, sizes, struct, kept)
        if state is not None:
            _known[edge_index] = known
    return known.struct


def rows(index: Tensor, num_indices: int) -> library.Rows:
    """Rows ``(n,)`` by their index.

    Raises:
        ValueError: not integers of 64 bits.
        IndexError: an index is out of range.
    """
    return _rows(index, num_indices).struct


def first(index: Tensor, num_indices: int) -> Tensor:
    """The first row of each index, that of another where there is none."""
    return _rows(index, num_indices).kept[3]


def copy(index: Tensor, num_indices: int) -> Tensor:
    """A copy of ``index``, whose entries are in range, which must not be written to."""
    return _rows(index, num_indices).kept[2]


def pairs(edge_index: Tensor, edge_shift: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Edges ``(2, e)`` with their reverses, by nodes and shifts ``(e, 3)``: see `library.pairs`."""
    state = _state(edge_index), _state(edge_shift)
    known = None if None in state else _pairs.get(edge_index)
    if known is not None and known[0] == state and known[1]() is edge_shift:
        return known[2]
    with torch.inference_mode(False):  # they are kept for whoever comes next
        found = library.pairs(edges(edge_index, num_nodes, num_nodes), edge_shift.detach().contiguous())
    if None not in state:
        _pairs[edge_index] = (state, ref(edge_shift), found)
    return found


def _rows(index: Tensor, num_indices: int) -> _Known:
    sizes, state = (num_indices,), _state(index)
    known = _recall(index, state, sizes)
    if known is None:
        with torch.inference_mode(False):  # they are kept for whoever comes next
            own = index.detach().clone(memory_format=torch.contiguous_format)
            ptr, order = library.group(own, num_indices)
            firsts = order[ptr[:-1].clamp(max=len(order) - 1)] if len(order) else order
        struct = library.Rows(len(index), order.data_ptr(), ptr.data_ptr())
        known = _Known(state, sizes, struct, (ptr, order, own, firsts))
        if state is not None:
            _known[index] = known
    return known
