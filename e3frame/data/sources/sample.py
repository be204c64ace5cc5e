"""``data=sample``: GFN2-xTB molecular dynamics of four small molecules, shipped with the package.

Created by ``scripts/make_sample.py``, which describes the method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from e3frame.data.formats.portions import numbered
from e3frame.data.sources.base import DataSpec, Label
from e3frame.spec.base import mistake, mistake_at
from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.errors import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from e3frame.data.formats.portions import Frame

FILE = Path(__file__).with_name("sample.npz")
MOLECULES = {
    "ethanol": ("H", "C", "O"),
    "acetamide": ("H", "C", "N", "O"),
    "acetic_acid": ("H", "C", "O"),
    "furan": ("H", "C", "O"),
}
"""Elements of each molecule."""
LABELS = {
    "energy": Label("graph"),
    "forces": Label("node", (3,)),
    "dipole": Label("graph", (3,)),
    "polarizability": Label("graph", (3, 3)),
}
"""Labels, in eV, eV/Å, e*Å and Å^3. The minimal basis underestimates the polarizability by about half."""
TRAIN_FRAMES = 450
"""Number of training frames per molecule."""


class SampleSpec(DataSpec):
    """Ethanol, acetamide, acetic acid and furan at 500 K: 450 training, 50 validation and 100 test frames of each,
    split by time. Labels: energy, forces, dipole, polarizability."""

    kind: Literal["sample"] = "sample"
    molecules: tuple[str, ...] | None = Field(default=None, min_length=1)
    """List of molecules: ethanol, acetamide, acetic_acid, furan; null: all."""
    num_train: int | None = Field(default=None, ge=1)
    """Number of training frames, evenly spaced over all; null: all."""

    piece: ClassVar[int] = 4096  # all frames take a second: starting another process is not worth it

    @field_validator("molecules")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in MOLECULES:
                raise mistake(f"no molecule is named {name}", did_you_mean(name, MOLECULES, "molecules"))
        return names if names is None else tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _enough(self) -> SampleSpec:
        available = TRAIN_FRAMES * len(self.chosen)
        if self.num_train is not None and self.num_train > available:
            problem = f"num_train is {self.num_train}, but there are {available} training frames"
            raise mistake_at("num_train", self.num_train, mistake(problem))
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.molecules or tuple(MOLECULES)

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(LABELS)

    @property
    def known_species(self) -> tuple[str, ...]:
        return tuple(sorted({s for name in self.chosen for s in MOLECULES[name]}, key=ATOMIC_NUMBERS.__getitem__))

    @property
    def prepared_labels(self) -> Mapping[str, Label]:
        return LABELS

    def contents(self, files: Sequence[str]) -> Sequence[Path]:
        return [FILE]

    def read_options(self) -> list[Any]:
        return []  # whichever molecules are chosen, all are prepared

    def count(self, file: str) -> int:
        return sum(map(len, self._splits().values()))

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Sequence[int]]:
        return numbered(self.count(file), frames, size)

    def frames(self, file: str, portion: Sequence[int]) -> Iterator[Frame]:
        import numpy as np
        from ase import Atoms

        first = 0
        with np.load(FILE) as arrays:
            for name in MOLECULES:
                numbers, positions = arrays[f"{name}.z"], arrays[f"{name}.pos"].astype(np.float64)
                held = {key: arrays[f"{name}.{key}"].astype(np.float64) for key in LABELS}
                held["polarizability"] = held["polarizability"][:, [0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(-1, 3, 3)
                for k in (frame - first for frame in portion if 0 <= frame - first < len(positions)):
                    atoms = Atoms(numbers, positions[k])
                    atoms.info = {key: values[k] for key, values in held.items()}
                    yield first + k, atoms
                first += len(positions)

    def divide(self, total: int, groups: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int64]]:
        import numpy as np

        splits = self._splits()
        split = np.concatenate(list(splits.values()))
        mine = np.concatenate([np.full(len(part), name in self.chosen) for name, part in splits.items()])
        train, val, test = (np.flatnonzero(mine & (split == number)) for number in range(3))
        if self.num_train is not None:
            train = train[np.arange(self.num_train) * len(train) // self.num_train]
        return {"train": train, "val": val, "test": test}

    def _splits(self) -> dict[str, NDArray[np.int64]]:
        """Return the split (0, 1 or 2) of each frame, by molecule."""
        import numpy as np

        with np.load(FILE) as arrays:
            return {name: arrays[f"{name}.split"] for name in MOLECULES}
