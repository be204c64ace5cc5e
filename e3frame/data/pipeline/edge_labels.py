"""Labels per pair of atoms: reads them with their pairs and assigns them to edges of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e3frame.data.formats.frame_keys import Fail, as_array, find, require_measured
from e3frame.data.sources.base import Label
from e3frame.data.sources.edge_labels import EdgeLabelSpec

if TYPE_CHECKING:
    from ase import Atoms


def beyond_key(name: str) -> str:
    """Return the key of a graph for the number of labelled pairs that are not edges."""
    return f"{name}.beyond"


@dataclass(frozen=True)
class Pairs:
    """Label of k pairs of atoms: atoms (k, 2), periodic images of the first atom (k, 3), and values (k, ...)."""

    index: NDArray[np.int64]
    image: NDArray[np.int64]
    values: NDArray[np.float64]

    def __getitem__(self, rows: Any) -> Pairs:
        return Pairs(self.index[rows], self.image[rows], self.values[rows])

    def with_reverse(self, reverse: str | None) -> Pairs:
        """Return the pairs with their reverse pairs added; see :attr:`EdgeLabelSpec.reverse`."""
        if reverse is None:
            return self
        back = -self.values if reverse == "negative" else self.values
        back = back.swapaxes(1, 2) if reverse == "transposed" else back
        index, image = (self.index, self.index[:, ::-1]), (self.image, -self.image)
        return Pairs(np.concatenate(index), np.concatenate(image), np.concatenate([self.values, back]))

    def on_edges(
        self, edge_index: NDArray[np.int64], image: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the values on the edges, (e, ...), NaN without a label, and which pairs are edges, (k,)."""
        found = np.full((edge_index.shape[1], *self.values.shape[1:]), np.nan)
        if not edge_index.shape[1]:
            return found, np.zeros(len(self.index), dtype=bool)
        # Images may be far away, but few are different, so that they can be numbered.
        atoms = int(max(edge_index.max(), self.index.max(initial=0))) + 1
        edges, codes, near = _code(edge_index.T, atoms), _code(self.index, atoms), np.ones(len(self.index), dtype=bool)
        for component, own in zip(image.T, self.image.T, strict=True):
            known = np.unique(component)
            place = np.searchsorted(known, own).clip(max=len(known) - 1)
            near &= known[place] == own
            edges = edges * len(known) + np.searchsorted(known, component)
            codes = codes * len(known) + place
        order = np.argsort(edges)
        edge = order[np.searchsorted(edges, codes, sorter=order) % len(order)]
        there = near & (edges[edge] == codes)
        found[edge[there]] = self.values[there]
        return found, there


def images(edge_shift: NDArray[np.float64], atoms: Atoms) -> NDArray[np.int64]:
    """Return the periodic image of each edge, integers S (e, 3) with ``edge_shift = S @ cell``; zero along non-periodic
    directions."""
    found = np.zeros(edge_shift.shape, dtype=np.int64)
    if atoms.pbc.any():
        found[:, atoms.pbc] = np.rint(edge_shift @ np.linalg.pinv(atoms.cell.array[atoms.pbc]))
    return found


def read_pairs(
    present: Mapping[str, Any], name: str, key: str, stored: EdgeLabelSpec, label: Label, atoms: Atoms, fail: Fail
) -> Pairs:
    """Read the label ``name`` from ``key`` with its pairs, in the file's units, including reverse pairs.

    Raises:
        DataError: a key is missing, an array has a wrong type or shape, a value is not finite, or a pair is invalid or
            has two values.
    """
    index = _integers(present, stored.index, f"data.edges.{name}.index", 2, fail)
    if stored.shift is None:
        if atoms.pbc.any():
            hint = f"set data.edges.{name}.shift to the key of the periodic images"
            raise fail(f"the frame is periodic, so the pairs of {name} need their periodic images", hint=hint)
        image = np.zeros((len(index), 3), dtype=np.int64)
    else:
        image = _integers(present, stored.shift, f"data.edges.{name}.shift", 3, fail)
        if len(image) != len(index):
            raise fail(f"{stored.shift} has {len(image)} rows, but {stored.index} has {len(index)}")
    values = _values(present, name, key, label, len(index), fail)
    pairs = Pairs(index, image, values)[(index != -1).any(1)]
    _require_pairs(pairs, name, key, atoms, fail)
    both = pairs.with_reverse(stored.reverse)
    _require_one_value(both, name, stored, fail)
    return both


def _integers(present: Mapping[str, Any], key: str, option: str, width: int, fail: Fail) -> NDArray[np.int64]:
    """Return integers of shape (k, width); the file may have them in one dimension."""
    array = as_array(find(present, key, f"for {option}", option, fail))
    if array.dtype.kind not in "iu" and array.size:
        raise fail(f"{key} must contain integers, got {array.dtype}")
    flat = array.ndim == 1 and array.size % width == 0
    if not flat and array.shape[1:] != (width,):
        hint = "transpose it" if array.shape[:1] == (width,) and array.ndim == 2 else None
        raise fail(f"{key} has shape {array.shape}, but must have (pairs, {width})", hint=hint)
    return array.astype(np.int64).reshape(-1, width)


def _values(
    present: Mapping[str, Any], name: str, key: str, label: Label, count: int, fail: Fail
) -> NDArray[np.float64]:
    array = as_array(find(present, key, f"for the label {name}", f"data.keys.{name}", fail))
    if array.dtype.kind not in "fiu":
        raise fail(f"{key} is not a number: {array.tolist()!r}")
    width = int(np.prod(label.shape))
    accepted = {(count, *label.shape), (count, width), (count * width,)} | ({()} if count * width == 1 else set())
    if array.shape not in accepted:
        raise fail(f"{key} has shape {array.shape}, but {count} pairs of the label {name} need {(count, *label.shape)}")
    return array.astype(np.float64).reshape(count, *label.shape)


def _require_pairs(pairs: Pairs, name: str, key: str, atoms: Atoms, fail: Fail) -> None:
    if not len(pairs.index):
        return
    a, b = pairs.index.T
    outside = ((pairs.index < 0) | (pairs.index >= len(atoms))).any(1)
    checks = {
        "refers to an atom that does not exist": (outside, f"the frame has atoms 0 to {len(atoms) - 1}"),
        "joins an atom with itself": (
            (a == b) & (pairs.image == 0).all(1),
            "use a label per node for values of single atoms",
        ),
        "has an image along a direction that is not periodic": ((pairs.image[:, ~atoms.pbc] != 0).any(1), None),
    }
    for problem, (wrong, hint) in checks.items():
        if wrong.any():
            raise fail(f"{_shown(pairs, int(wrong.argmax()))} of {name} {problem}", hint=hint)
    require_measured(pairs.values, lambda row: f"{key} of {_shown(pairs, row)}", fail)


def _require_one_value(pairs: Pairs, name: str, stored: EdgeLabelSpec, fail: Fail) -> None:
    if not len(pairs.index):
        return
    rows = np.concatenate([pairs.index, pairs.image], 1)
    order = np.lexsort(rows.T)
    first, second = order[:-1], order[1:]
    values = pairs.values.reshape(len(rows), -1)
    same = (rows[first] == rows[second]).all(1)
    differ = same & ~np.isclose(values[first], values[second], rtol=1e-6, atol=1e-10).all(1)
    if differ.any():
        one, two = sorted((int(first[differ.argmax()]), int(second[differ.argmax()])))
        given = f"{pairs.values[one].tolist()} and {pairs.values[two].tolist()}"
        hint = None
        if stored.reverse is not None:
            hint = f"remove data.edges.{name}.reverse={stored.reverse} if the file has rows for both directions"
        raise fail(f"{_shown(pairs, one)} of {name} has two values: {given}", hint=hint)


def _shown(pairs: Pairs, row: int) -> str:
    a, b = pairs.index[row].tolist()
    image = pairs.image[row]
    return f"the pair ({a}, {b})" + (f" with the image {image.tolist()}" if image.any() else "")


def _code(index: NDArray[np.int64], atoms: int) -> NDArray[np.int64]:
    """Return an integer code for each pair of atoms, of ``atoms`` in all."""
    return index[:, 0] * atoms + index[:, 1]
