"""``data=md17`` and ``data=rmd17``: molecular dynamics of small molecules (Chmiela et al. 2017, 2018; Christensen and
von Lilienfeld 2020), from the files that torch_geometric's ``MD17`` downloads.

They are read in float64: torch_geometric's own processing rounds the energies (about 10^5 kcal/mol) to float32.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from e3frame.data.formats.npz_arrays import arrays_of
from e3frame.data.sources.base import NOT_FETCHED, DividedSpec
from e3frame.data.sources.npz import NpzSpec, Structure
from e3frame.data.sources.splitting import SplitSpec
from e3frame.files.regular import with_home
from e3frame.spec.base import mistake, mistake_at, shown
from e3frame.spec.elements import ATOMIC_NUMBERS, SYMBOLS
from e3frame.spec.errors import DataError, did_you_mean
from e3frame.spec.units import Units

if TYPE_CHECKING:
    from torch_geometric.datasets import MD17

FORMULAS = {
    "benzene": "C6H6",
    "uracil": "C4H4N2O2",
    "naphthalene": "C10H8",
    "aspirin": "C9H8O4",
    "salicylic_acid": "C7H6O3",
    "malonaldehyde": "C3H4O2",
    "ethanol": "C2H6O",
    "toluene": "C7H8",
    "paracetamol": "C8H9NO2",
    "azobenzene": "C12H10N2",
}


def _molecule(raw: Any) -> Any:
    if raw is None:
        raise mistake("data.molecule is required", f"molecules: {', '.join(FORMULAS)}")
    if not isinstance(raw, str) or raw not in FORMULAS:
        raise mistake(f"no molecule is named {shown(raw)}", did_you_mean(str(raw), FORMULAS, "molecules"))
    return raw


CCSD = {"benzene": "(T)", "aspirin": "", "malonaldehyde": "(T)", "ethanol": "(T)", "toluene": "(T)"}
"""Molecules with coupled-cluster data, and the treatment of their triples."""


def _torch_geometrics(name: str, root: str | Path) -> MD17:
    """Return torch_geometric's data set for its paths and download, without its processing."""
    from torch_geometric.datasets import MD17

    class Raw(MD17):
        def __init__(self) -> None:
            self.root, self.name = str(root), name
            self.revised, self.ccsd = "revised" in name, "CCSD" in name

    return Raw()


class _Trajectory(DividedSpec):
    """Common part of MD17 and rMD17."""

    molecule: Annotated[str, BeforeValidator(_molecule)] = Field(default=None, validate_default=True)
    """Molecule of the trajectory: benzene, uracil, naphthalene, aspirin, salicylic_acid, malonaldehyde, ethanol,
    toluene, paracetamol, azobenzene."""
    root: str | None = None
    """Folder of the raw files, which are downloaded if missing; null: a folder in the cache."""

    @property
    def label_names(self) -> tuple[str, ...]:
        return ("energy", "forces")

    @property
    def known_species(self) -> tuple[str, ...]:
        return tuple(sorted(re.findall("[A-Z][a-z]?", FORMULAS[self.molecule]), key=ATOMIC_NUMBERS.__getitem__))

    @property
    def absent(self) -> str | None:
        root = self._root()
        here = root.is_dir() and all((root / name).exists() for name in self._raw_names())
        return None if here else NOT_FETCHED

    def resolved(self) -> NpzSpec:
        """Return the spec that reads the raw files.

        Raises:
            DataError: a file belongs to another trajectory.
        """
        source = self._read_as(self._raw())
        for file in (*source.path, *(source.test_path or ())):
            self._require_mine(source, file)
        return source

    def _read_as(self, files: list[str]) -> NpzSpec:
        """Return the spec that reads and splits the raw files."""
        raise NotImplementedError

    def _name(self) -> str:
        """Return torch_geometric's name of the trajectory."""
        raise NotImplementedError

    def _root(self) -> Path:
        return with_home(self.root or self.cache_folder() / "raw")

    def _raw_names(self) -> list[str]:
        """Return the paths of the raw files, relative to their folder."""
        root = self._root()
        return [str(Path(path).relative_to(root)) for path in _torch_geometrics(self._name(), root).raw_paths]

    def _raw(self) -> list[str]:
        """Return the paths of the raw files; downloads them if they are missing."""
        from e3frame.data.formats.download import fetched

        name = self._name()
        files = fetched(self._root(), self._raw_names(), lambda part: _torch_geometrics(name, part).download(), name)
        return [str(path) for path in files]

    def _npz(self, path: list[str], split: SplitSpec, **more: Any) -> NpzSpec:
        shared = {key: getattr(self, key) for key in ("processes", "cache_dir", "storage", "neighbors", "allow")}
        return NpzSpec(path=path, units=Units(energy="kcal/mol"), split=split, **shared, **more)

    def _require_mine(self, source: NpzSpec, file: str) -> None:
        """Raise DataError if a file lacks an array or belongs to another molecule."""
        from ase.formula import Formula

        present, structure = arrays_of(file), source.structure
        for key in (structure.positions, structure.numbers, *source.keys.values()):
            if key not in present:
                problem = f"has no array '{key}'; its arrays are {', '.join(present)}"
                raise DataError(problem, file=file, hint="this raw file may belong to another data set")
        _, numbers, _ = source.structures(file)
        found = Formula.from_list([SYMBOLS[z] for z in numbers[:1].flatten().tolist()])
        if len(numbers) and found.count() != Formula(FORMULAS[self.molecule]).count():
            problem = f"contains {found:hill}, but {self.molecule} is {Formula(FORMULAS[self.molecule]):hill}"
            raise DataError(problem, file=file, hint="this raw file may belong to another data set")


class Md17Spec(_Trajectory):
    """MD17: DFT (PBE+vdW-TS) trajectories at 500 K, 100,000 to 1,000,000 frames each; or the smaller CCSD and CCSD(T)
    data sets, which have fixed test frames. Labels: energy, forces."""

    kind: Literal["md17"] = "md17"
    level: Literal["dft", "ccsd", "fhi_aims"] = "dft"
    """Level of theory: dft; ccsd for aspirin, benzene, ethanol, malonaldehyde, toluene; fhi_aims for benzene. ccsd is
    CCSD for aspirin, CCSD(T) for the others."""
    split: SplitSpec = SplitSpec(train=950, val=50, method="random")
    """Split of the frames. ``test: null``: 1000 frames, or with ccsd the published test set."""

    @model_validator(mode="after")
    def _there(self) -> Md17Spec:
        known = {"ccsd": tuple(CCSD), "fhi_aims": ("benzene",)}.get(self.level, tuple(FORMULAS))
        if self.molecule not in known:
            problem = f"{self.molecule} has no {self.level} data"
            raise mistake_at("level", self.level, mistake(problem, f"available for {', '.join(known)}"))
        if self.level == "ccsd" and self.split.test is not None:
            raise mistake("ccsd has a fixed test set", "remove split.test")
        return self

    def _read_as(self, files: list[str]) -> NpzSpec:
        if self.level == "ccsd":
            return self._npz(files[:1], self.split, test_path=files[1:])
        test = {"test": 1000} if (self.split.test, self.split.test_index) == (None, None) else {}
        return self._npz(files, self.split.replace(**test))

    def _name(self) -> str:
        molecule = self.molecule.replace("_", " ")
        if self.level == "fhi_aims":
            return f"{molecule} FHI-aims"
        return molecule if self.level == "dft" else f"{molecule} CCSD{CCSD[self.molecule]}"


class Rmd17Spec(_Trajectory):
    """Revised MD17: 100,000 frames per trajectory, recomputed (PBE/def2-SVP) with tight convergence, with five
    published splits. Labels: energy, forces."""

    kind: Literal["rmd17"] = "rmd17"
    fold: Literal[1, 2, 3, 4, 5] | None = 1
    """Number of the published split: 1000 frames for training and validation (``split.val``), 1000 for test; null: use
    ``split`` only."""
    split: SplitSpec = SplitSpec(train=950, val=50, method="random")
    """Sizes of the split; with ``fold: null`` also its method. Published results use 950 + 50 frames."""

    def _read_as(self, files: list[str]) -> NpzSpec:
        structure = Structure(positions="coords", numbers="nuclear_charges")
        keys = {"energy": "energies", "forces": "forces"}
        return self._npz(files[:1], self._division(files[0]), structure=structure, keys=keys)

    def _division(self, file: str) -> SplitSpec:
        if self.fold is None:
            return self.split
        folder = Path(file).parents[1] / "splits"
        lists = {f"{name}_index": str(folder / f"index_{name}_{self.fold:02d}.csv") for name in ("train", "test")}
        sizes = {"train": self.split.train, "val": self.split.val, "seed": self.split.seed}
        return SplitSpec(method="index", **sizes, **lists)

    def _name(self) -> str:
        return f"revised {self.molecule.replace('_', ' ')}"
