"""``data=qm9``: 130,831 small organic molecules at their DFT equilibrium geometries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from e3frame.data.formats.portions import numbered
from e3frame.data.sources.base import NOT_FETCHED, DividedSpec
from e3frame.data.sources.splitting import SplitSpec
from e3frame.files.regular import with_home
from e3frame.spec.base import mistake

if TYPE_CHECKING:
    from e3frame.data.formats.portions import Frame

ENERGIES = ("U0", "U", "H", "G")
GRAPH_LABELS = (
    *("mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", *ENERGIES, "Cv", "A", "B", "C"),
    *(f"{name}_atom" for name in ENERGIES),
    *(f"{name}_total" for name in ENERGIES),
)
PACK_LABELS = ("polarizability", "charges")
"""Additional labels of qm9pack: (3, 3) per graph in Å^3, and per node in e."""


class Qm9Spec(DividedSpec):
    """QM9 (Ramakrishnan et al. 2014) without its 3,054 uncharacterized molecules. Labels, named as in the paper: mu
    (D), alpha (a0^3), homo, lumo, gap, zpve (eV), r2 (a0^2), Cv (cal/(mol K)), A, B, C (GHz), and U0, U, H, G (eV)
    minus the energies of the free atoms: U0 is the atomization energy (also named U0_atom), U0_total the total
    energy."""

    kind: Literal["qm9"] = "qm9"
    source: Literal["qm9pack", "pyg"] = "qm9pack"
    """Source of the files: the package qm9pack (``pip install 'e3frame[qm9]'``), or pyg, the raw files that
    torch_geometric downloads. qm9pack works offline, and adds Mulliken charges and polarizability tensors (caution:
    these are not in the coordinate frame of the positions). pyg has coordinates of four decimals. Both have the same
    molecules in the same order."""
    root: str | None = None
    """For pyg: folder whose raw/ contains the raw files, which are downloaded if missing; null: a folder in the
    cache."""
    split: SplitSpec = SplitSpec(train=110_000, val=10_000, test="rest", method="random")
    """Split of the molecules, by default the usual one. The method group does not apply."""

    piece: ClassVar[int] = 16384  # skipping lines is cheap, but not free

    @model_validator(mode="after")
    def _no_groups(self) -> Qm9Spec:
        if self.split.method == "group":
            raise mistake("QM9 has no key to group by", "set split.method: random")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        return (*GRAPH_LABELS, *(PACK_LABELS if self.source == "qm9pack" else ()))

    @property
    def known_species(self) -> tuple[str, ...]:
        return ("H", "C", "N", "O", "F")

    @property
    def absent(self) -> str | None:
        from e3frame.data.formats.qm9_files import RAW, is_installed

        if self.source == "qm9pack":
            return None if is_installed() else "the package qm9pack is not installed"
        return None if all((self._root() / "raw" / name).exists() for name in RAW) else NOT_FETCHED

    @property
    def label_keys(self) -> Mapping[str, str]:
        return {name: name.removesuffix("_atom") for name in self.label_names}

    @property
    def title(self) -> str:
        # One name for all files: a molecule is identified by its number in GDB-9.
        return f"data=qm9 ({self.source})"

    def contents(self, files: Sequence[str]) -> Sequence[str]:
        return self._files()

    def count(self, file: str) -> int:
        from e3frame.data.formats.qm9_files import count_pack, count_raw

        return (count_pack if self.source == "qm9pack" else count_raw)(self._files())

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Sequence[int]]:
        return numbered(self.count(file), frames, size)

    def frames(self, file: str, portion: Sequence[int]) -> Iterator[Frame]:
        """Yield molecules, given their indices in the data set, with their numbers in GDB-9, from 0."""
        from e3frame.data.formats.qm9_files import pack_molecules, raw_molecules

        return (pack_molecules if self.source == "qm9pack" else raw_molecules)(self._files(), portion)

    def _files(self) -> list[str]:
        from e3frame.data.formats.qm9_files import pack_files, raw_files

        if self.source == "qm9pack":
            return pack_files()
        return raw_files(self._root())

    def _root(self) -> Path:
        return with_home(self.root or self.cache_folder() / "raw" / "qm9")
