"""Reads the labels of a frame as arrays of known shape, in eV, Å and e."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from e3frame.data.formats.frame_keys import Absent, absent_error, as_array, find, present_keys, require_measured
from e3frame.data.pipeline.edge_labels import beyond_key, images, read_pairs
from e3frame.data.sources.base import TASKS_WITHOUT, Label
from e3frame.data.sources.edge_labels import EdgeLabelSpec
from e3frame.spec.errors import DataError
from e3frame.spec.units import Units


@dataclass(frozen=True)
class LabelReader:
    """Reads the labels of frames.

    Args:
        labels: labels to read.
        keys: key of each label. ``virial`` in place of ``stress`` gives the stress as -virial / volume.
        units: units of the files.
        allow_missing: labels that a frame may lack; their values are then NaN.
        edges: keys of the pairs of atoms, for labels per edge.
    """

    labels: Mapping[str, Label]
    keys: Mapping[str, str]
    units: Units
    allow_missing: tuple[str, ...] = ()
    edges: Mapping[str, EdgeLabelSpec] = field(default_factory=dict)

    def read(self, atoms: Atoms, file: str, frame: int) -> dict[str, NDArray[np.float64]]:
        """Read every label per graph as (1, *shape) and per node as (n, *shape); ``atoms`` are in Å already.

        Raises:
            DataError: a label is missing, not numeric, not finite, or has a wrong shape.
        """
        own = {name: label for name, label in self.labels.items() if label.per != "edge"}
        try:
            return {name: self._value(atoms, name, label, file, frame) for name, label in own.items()}
        except DataError:
            self._require_keys(atoms, own, file, frame)  # this error names all missing labels
            raise

    def read_edges(
        self, atoms: Atoms, edge_index: NDArray[np.int64], edge_shift: NDArray[np.float64], file: str, frame: int
    ) -> dict[str, NDArray[Any]]:
        """Read every label per edge as (e, *shape), NaN for edges without one; and the number of pairs that are not
        edges, (1,), under :func:`beyond_key`.

        Raises:
            DataError: see :func:`e3frame.data.pipeline.edge_labels.read_pairs`.
        """
        found: dict[str, NDArray[Any]] = {}
        for name, label in self.labels.items():
            if label.per != "edge":
                continue
            key, present = self.keys[name], present_keys(atoms, "graph")
            if name in self.allow_missing and (key not in present or _all_nan(present[key])):
                found[name], beyond = np.full((edge_index.shape[1], *label.shape), np.nan), 0
            else:
                fail = partial(DataError, file=file, frame=frame)
                pairs = read_pairs(present, name, key, self.edges[name], label, atoms, fail)
                values, there = pairs.on_edges(edge_index, images(edge_shift, atoms))
                found[name], beyond = values * self.units.label_factor(name), int((~there).sum())
                beyond = beyond if self.edges[name].reverse is None else beyond // 2  # each pair has two directions
            found[beyond_key(name)] = np.array([beyond])
        return found

    def _require_keys(self, atoms: Atoms, labels: Mapping[str, Label], file: str, frame: int) -> None:
        absent = []
        for name in (name for name in labels if name not in self.allow_missing):
            present, key = present_keys(atoms, labels[name].per), self.keys[_source(name, self.keys)]
            rows = 1 if labels[name].per == "graph" else len(atoms)
            if key not in present:
                absent.append(_absent(present, name, key, labels[name], rows, frame))
        if absent:
            raise absent_error(absent, present_keys(atoms, "graph"), partial(DataError, file=file, frame=frame))

    def _value(self, atoms: Atoms, name: str, label: Label, file: str, frame: int) -> NDArray[np.float64]:
        source = _source(name, self.keys)
        key = self.keys[source]
        rows = 1 if label.per == "graph" else len(atoms)
        missing = np.full((rows, *label.shape), np.nan)
        present = present_keys(atoms, label.per)
        if name in self.allow_missing and (key not in present or _all_nan(present[key])):
            return missing
        value = read_label(atoms, name, key, label, file, frame) * self.units.label_factor(source)
        if name != "stress":
            return value
        return _stress(value, atoms, source, file, frame)


def read_label(
    atoms: Atoms, name: str, key: str, label: Label, file: str | None, frame: int | None
) -> NDArray[np.float64]:
    """Return the value of ``key`` in the file's units, as (1, *shape) per graph or (n, *shape) per node.

    The key may be in the frame's ``info``, its ``arrays``, or the results that ASE attaches to the frame, such as
    ``energy`` and ``forces``. A tensor may be written in one dimension, the last index running fastest; a stress also
    as six components in the order xx, yy, zz, yz, xz, xy.

    Raises:
        DataError: the value is missing, not numeric, not finite, or has a wrong shape.
    """
    present = present_keys(atoms, label.per)
    fail = partial(DataError, file=file, frame=frame)
    rows = 1 if label.per == "graph" else len(atoms)
    if key not in present:
        raise absent_error([_absent(present, name, key, label, rows, frame)], present, fail)
    value = as_array(present[key])
    if value.dtype.kind not in "fiu":
        raise DataError(f"{key} is not a number: {value.tolist()!r}", file=file, frame=frame)
    if name == "stress" and value.shape in ((6,), (1, 6)) and label.shape == (3, 3):
        value = voigt_6_to_full_3x3_stress(value.reshape(6).astype(np.float64))
    if value.shape not in _accepted(label, rows):
        problem, hint = _misfit(key, value, name, label, rows, file is not None)
        raise fail(problem, hint=hint)
    value = value.astype(np.float64).reshape(rows, *label.shape)
    require_measured(value, lambda row: f"{key} of atom {row}" if label.per == "node" else key, fail)
    return value


def _source(label: str, keys: Mapping[str, str]) -> str:
    """Return the quantity in the files that gives a label."""
    return "virial" if label == "stress" and label not in keys else label


def _absent(present: Mapping[str, Any], name: str, key: str, label: Label, rows: int, frame: int | None) -> Absent:
    """Describe the key of a label that a frame lacks."""
    first = frame == 0  # what the first frame lacks, all may lack
    fitting = [other for other, value in present.items() if first and _fits(value, label, rows)]
    without = f"to train without it: {TASKS_WITHOUT[name]}" if first and name in TASKS_WITHOUT else None
    # Other labels may be inputs, which no frame may lack.
    may_lack = name if without is None and name in ("energy", *TASKS_WITHOUT) else None
    return Absent(key, f"for the label {name}", f"data.keys.{name}", fitting, without, may_lack)


def _misfit(key: str, value: NDArray[Any], name: str, label: Label, rows: int, of_file: bool) -> tuple[str, str]:
    """Return problem and hint for a value with a wrong shape."""
    expected, each = (label.shape, "graph") if label.per == "graph" else ((rows, *label.shape), "atom")
    hint = f"{name} is one value of shape {label.shape} per {each}"
    if of_file and label.shape == () and value.shape == (2,) and value.dtype.kind == "i" and value[1] >= 0:
        hint += f"; if the file has {value[0]},{value[1]}: use a decimal point, {value[0]}.{value[1]}"
    return f"{key} has shape {value.shape}, but the label {name} needs {expected}", hint


def read_group(atoms: Atoms, key: str, file: str, frame: int) -> str:
    """Return the value of ``key`` by which frames are grouped when splitting.

    Raises:
        DataError: the frame has no such key.
    """
    present = present_keys(atoms, "graph")
    fail = partial(DataError, file=file, frame=frame)
    return str(find(present, key, "to split by", "data.split.key", fail))


def keys_of(atoms: Atoms) -> Iterator[tuple[str, Any]]:
    """Yield every key of a frame and its value, except positions and elements."""
    yield from present_keys(atoms, "graph").items()


def _fits(value: Any, label: Label, rows: int) -> bool:
    """Whether a value could be this label, by its type and shape."""
    array = as_array(value)
    return array.dtype.kind == "f" and array.shape in _accepted(label, rows)


def _accepted(label: Label, rows: int) -> set[tuple[int, ...]]:
    width = int(np.prod(label.shape))
    accepted = {(rows, *label.shape), (rows, width)}
    if label.per == "graph":
        accepted |= {label.shape, (width,)}
    elif width == 1:
        accepted.add((rows,))
    return accepted


def _stress(value: NDArray[np.float64], atoms: Atoms, source: str, file: str, frame: int) -> NDArray[np.float64]:
    """Return the stress as a symmetric matrix in eV/Å^3 with ASE's sign: positive if stretching raises the energy."""
    volume = atoms.cell.volume
    if not atoms.pbc.any() or volume <= 0:
        hint = "remove the label, or set data.allow_missing=[stress] and remove the key from this frame"
        raise DataError("stress needs a periodic cell, but this frame has none", file=file, frame=frame, hint=hint)
    if source == "virial":
        value = -value / volume
    matrix = value[0]
    if np.abs(matrix - matrix.T).max() > 1e-3 * np.abs(matrix).max() + 1e-8:
        raise DataError(f"the {source} is not symmetric: {matrix.tolist()}", file=file, frame=frame)
    return value


def _all_nan(value: Any) -> bool:
    array = as_array(value)
    return array.dtype.kind == "f" and bool(np.isnan(array).all())
