"""Edges by node and rows by index, for the kernels.

A batch has one ``edge_index``, and one index of species, which every layer and every derivative reads: each is grouped
once, when a kernel first meets it, and forgotten with the tensor.
"""

from __future__ import annotations

from ctypes import Structure

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from e3frame.kernels.native import library


class _Known:
    def __init__(self, tensor: Tensor, sizes: tuple[int, ...], struct: Structure, kept: tuple[Tensor, ...]) -> None:
        self.version, self.sizes, self.struct, self.kept = _version(tensor), sizes, struct, kept

    def fits(self, tensor: Tensor, sizes: tuple[int, ...]) -> bool:
        return self.version == _version(tensor) and self.sizes == sizes


_known: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _version(tensor: Tensor) -> int:
    """Changes when the tensor is written to."""
    return 0 if tensor.is_inference() else tensor._version


def edges(edge_index: Tensor, num_sources: int, num_targets: int) -> library.Edges:
    """The edges ``(2, e)`` by target and by source.

    Raises:
        IndexError: a node is out of range.
    """
    sizes = (num_sources, num_targets)
    known = _known.get(edge_index)
    if known is None or not known.fits(edge_index, sizes):
        index = edge_index.contiguous()
        target_ptr, by_target = library.group(index[1], num_targets)
        source_ptr, by_source = library.group(index[0], num_sources)
        kept = (index[0], index[1], by_target, target_ptr, by_source, source_ptr)
        struct = library.Edges(index.shape[1], *sizes, *(tensor.data_ptr() for tensor in kept))
        known = _known[edge_index] = _Known(edge_index, sizes, struct, kept)
    return known.struct


def rows(index: Tensor, num_indices: int) -> library.Rows:
    """Rows ``(n,)`` by their index.

    Raises:
        IndexError: an index is out of range.
    """
    return _rows(index, num_indices).struct


def first(index: Tensor, num_indices: int) -> Tensor:
    """The first row of each index, 0 where there is none."""
    return _rows(index, num_indices).kept[2]


def _rows(index: Tensor, num_indices: int) -> _Known:
    sizes = (num_indices,)
    known = _known.get(index)
    if known is None or not known.fits(index, sizes):
        ptr, order = library.group(index.contiguous(), num_indices)
        struct = library.Rows(len(index), order.data_ptr(), ptr.data_ptr())
        # Of an index without rows, the begin is where the next one begins, or the end.
        empty = ptr.diff() == 0
        first = torch.cat([order, order.new_zeros(1)])[ptr[:-1]].masked_fill(empty, 0)
        known = _known[index] = _Known(index, sizes, struct, (ptr, order, first))
    return known
