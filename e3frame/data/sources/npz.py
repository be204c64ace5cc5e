"""``data=npz``: frames as arrays in a NumPy file, with any array names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from e3frame.data.formats.npz_arrays import arrays_of
from e3frame.data.formats.portions import numbered
from e3frame.data.formats.stated_units import is_unit_key
from e3frame.data.sources.files import FilesSpec
from e3frame.spec.base import Spec
from e3frame.spec.errors import DataError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from e3frame.data.formats.portions import Frame


class Structure(Spec):
    """Names of the arrays of the structures."""

    positions: str = "R"
    """Positions, (frames, atoms, 3)."""
    numbers: str = "z"
    """Atomic numbers, (atoms,) for all frames or (frames, atoms); 0 pads frames with fewer atoms."""
    cell: str | None = None
    """Cell vectors, (3, 3) for all frames or (frames, 3, 3); null: the frames are not periodic."""


class NpzSpec(FilesSpec):
    """Frames as arrays of a ``.npz`` file: positions, atomic numbers, and labels with one row per frame."""

    kind: Literal["npz"] = "npz"
    keys: dict[str, str] = {"energy": "E", "forces": "F"}  # noqa: RUF012
    """Array of each label, as {label: array}, (frames, ...) per graph, (frames, atoms, ...) per node or (frames, pairs,
    ...) per edge."""
    structure: Structure = Structure()
    """Names of the arrays of the structures: R, z as in MD17; rMD17 has coords and nuclear_charges."""

    def stated(self, file: str) -> Mapping[str, Any]:
        arrays = arrays_of(file)
        names = (key for key, about in arrays.headers.items() if is_unit_key(key) and about.size == 1)
        units = {key: arrays[key].reshape(-1)[0].item() for key in names}
        return {
            key: unit.decode("utf-8", "replace") if isinstance(unit, bytes) else unit for key, unit in units.items()
        }

    def count(self, file: str) -> int:
        shape = arrays_of(file).headers[self._key(file, "positions")].shape
        return shape[0] if shape else 0

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Sequence[int]]:
        return numbered(self.count(file), frames, size)

    def frames(self, file: str, portion: Sequence[int]) -> Iterator[Frame]:
        import numpy as np
        from ase import Atoms

        arrays = arrays_of(file)
        positions, numbers, cells = self.structures(file)
        pairs = {stored.index for stored in self.edges.values()}
        shifts = {stored.shift for stored in self.edges.values() if stored.shift is not None}
        rows = pairs | shifts | {self.keys[name] for name in self.edges}
        group = self.group_key
        groups = set() if group is None else {self._present(file, group, "to split by", "data.split.key")}
        labels = {key: arrays[key] for key in {*self.keys.values(), *rows, *groups} if key in arrays}
        for key, values in labels.items():
            if values.ndim == 0 or len(values) != len(positions):
                raise DataError(f"{key} has shape {values.shape}, but there are {len(positions)} frames", file=file)
        for frame in portion:
            real = numbers[frame] > 0
            full = bool(real.all())
            atoms = Atoms(numbers[frame][real], positions[frame][real])
            if cells is not None:
                atoms.set_cell(cells[frame])
                atoms.pbc = True
            for key, values in labels.items():
                value = np.asarray(values[frame])
                atoms.info[key] = _renumbered(value, real) if key in pairs and not full else value
                if not full and key not in rows and key not in atoms.arrays and value.shape[:1] == real.shape:
                    atoms.set_array(key, value[real])  # read by labels per atom; those per graph read the info
            yield frame, atoms

    def structures(self, file: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """Return positions (frames, atoms, 3), atomic numbers (frames, atoms), and cells (frames, 3, 3) or None.

        Raises:
            DataError: an array is missing or has a wrong shape.
        """
        import numpy as np

        arrays = arrays_of(file)
        positions = arrays[self._key(file, "positions")]
        numbers = arrays[self._key(file, "numbers")]
        if positions.ndim != 3 or positions.shape[2] != 3:
            what = f"{self.structure.positions} has shape {positions.shape}"
            raise DataError(f"{what}, but positions must have shape (frames, atoms, 3)", file=file)
        if numbers.dtype.kind not in "iuf" or numbers.shape not in (positions.shape[:2], positions.shape[1:2]):
            what = f"{self.structure.numbers} has shape {numbers.shape} and type {numbers.dtype}"
            needed = f"atomic numbers of {positions.shape[1]} atoms are needed"
            raise DataError(f"{what}, but {needed}", file=file)
        wrong = (numbers < 0) | (numbers > 118) | (numbers % 1 != 0)
        if wrong.any():
            raise DataError(f"{numbers[wrong][0]} is not an atomic number", file=file)
        cells = None
        if self.structure.cell is not None:
            cells = arrays[self._key(file, "cell")]
            if cells.shape not in ((3, 3), (len(positions), 3, 3)):
                problem = f"{self.structure.cell} has shape {cells.shape}, but a cell must have shape (3, 3)"
                raise DataError(problem, file=file)
            cells = np.broadcast_to(cells, (len(positions), 3, 3))
        return positions, np.broadcast_to(numbers.astype(np.int64), positions.shape[:2]), cells

    def _key(self, file: str, what: str) -> str:
        option = f"data.structure.{what}"
        return self._present(file, getattr(self.structure, what), f"for the {what} ({option})", option)

    def _present(self, file: str, key: str, what: str, option: str) -> str:
        """Return the key of an array; raise DataError if the file lacks it."""
        present = arrays_of(file)
        if key not in present:
            match = nearest(key, present)
            hint = f"existing arrays: {', '.join(present)}" + (f"; did you mean {option}={match}?" if match else "")
            raise DataError(f"no array '{key}' {what}", file=file, hint=hint)
        return key


def _renumbered(index: NDArray[Any], real: NDArray[Any]) -> NDArray[Any]:
    """Renumber atoms without padding; padding rows get an invalid number."""
    import numpy as np

    slots = len(real)
    numbers = np.where(real, real.cumsum() - 1, slots + np.arange(slots))
    inside = (index >= 0) & (index < slots)
    return np.where(inside, numbers[np.where(inside, index, 0)], index)
