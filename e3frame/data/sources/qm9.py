"""``data=qm9``: 130,831 small organic molecules at their equilibrium, by DFT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from e3frame.data.formats.portions import numbered
from e3frame.data.sources.base import NOT_FETCHED, DataSpec, Label
from e3frame.data.sources.splitting import SplitSpec
from e3frame.files.regular import with_home
from e3frame.spec.base import mistake
from e3frame.spec.errors import DataError
from e3frame.spec.units import Units

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from e3frame.data.formats.qm9_sources import Molecule
    from e3frame.data.pipeline.dataset import Splits
    from e3frame.data.pipeline.frameset import FrameSet
    from e3frame.data.pipeline.prepare import Recipe
    from e3frame.data.pipeline.sampled import Sample
    from e3frame.preflight.broken import Survey

ENERGIES = ("U0", "U", "H", "G")
GRAPH_LABELS = (
    *("mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", *ENERGIES, "Cv", "A", "B", "C"),
    *(f"{name}_atom" for name in ENERGIES),
    *(f"{name}_total" for name in ENERGIES),
)
PACK_LABELS = {"polarizability": Label("graph", (3, 3)), "charges": Label("node")}
"""What qm9pack has besides, in Å^3 and e."""


class Qm9Spec(DataSpec):
    """QM9 (Ramakrishnan et al. 2014) without its 3,054 uncharacterized molecules. Labels, by the names of the paper:
    mu (D), alpha (a0^3), homo, lumo, gap, zpve (eV), r2 (a0^2), Cv (cal/(mol K)), A, B, C (GHz), and U0, U, H, G (eV)
    without the energies of the free atoms, so that U0 is the atomization energy (also called U0_atom) and U0_total the
    whole."""

    kind: Literal["qm9"] = "qm9"
    source: Literal["qm9pack", "pyg"] = "qm9pack"
    """qm9pack: the package (``pip install 'e3frame[qm9]'``), which needs no network later on, has Mulliken charges too,
    and polarizability tensors, which are not in the frame of the coordinates. pyg: the raw files that torch_geometric
    downloads. The molecules are the same, in the same order; the coordinates of pyg have four decimals."""
    root: str | None = None
    """For pyg: folder whose raw/ holds the raw files, downloaded if they are not there; null: in the folder of the
    processed data."""
    split: SplitSpec = SplitSpec(train=110_000, val=10_000, test="rest", method="random")
    """How the molecules are divided; the default is the usual one. The methods random, time and index apply."""
    processes: int | None = Field(default=None, ge=1)
    """Processes that find neighbours; null: one per core."""

    @model_validator(mode="after")
    def _no_groups(self) -> Qm9Spec:
        if self.split.method == "group":
            raise mistake("the molecules have no key to group by", "write split.method: random")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        return (*GRAPH_LABELS, *(PACK_LABELS if self.source == "qm9pack" else ()))

    @property
    def known_species(self) -> tuple[str, ...]:
        return ("H", "C", "N", "O", "F")

    @property
    def absent(self) -> str | None:
        from e3frame.data.formats.qm9_sources import RAW, is_installed

        if self.source == "qm9pack":
            return None if is_installed() else "the package qm9pack is not installed"
        return None if all((self._root() / "raw" / name).exists() for name in RAW) else NOT_FETCHED

    def load(self, r_max: float, labels: Mapping[str, Label]) -> Splits:
        import numpy as np

        from e3frame.data.pipeline.dataset import Splits

        recipe, parts = self._divided(self.recipe(r_max, labels))
        whole = self.read(recipe)
        if recipe.chosen is not None:
            parts = {name: np.searchsorted(recipe.chosen, part) for name, part in parts.items()}
        return Splits(**{name: whole[indices] if len(indices) else None for name, indices in parts.items()})

    def sample(self, r_max: float, labels: Mapping[str, Label]) -> Sample:
        from e3frame.data.pipeline.sampled import Sample, Source, are_few

        source = Source(*self._divided(self.recipe(r_max, labels)))
        found = None if are_few([source]) else Sample.of(source.taken(self.processes), source.totals)
        return found or Sample.whole(self.load(r_max, labels))

    def survey(self, r_max: float, labels: Mapping[str, Label], full: bool) -> Survey:
        from e3frame.data.pipeline.sampled import Source, are_few
        from e3frame.preflight.broken import survey

        source = Source(*self._divided(self.recipe(r_max, labels)))
        whole = full or are_few([source])
        return survey([source.recipe if whole else source.thinned().recipe], self.processes)

    def _divided(self, recipe: Recipe) -> tuple[Recipe, dict[str, NDArray[np.int64]]]:
        """The recipe of what the splits take, and the places of each of them in the set."""
        import numpy as np

        total = recipe.total()
        try:
            parts = self.split.divide(total)
        except DataError as error:
            raise DataError(error.problem, file=error.file or recipe.files[0], hint=error.hint) from None
        # A learning curve's 1,000 molecules do not wait for the neighbours of all; the usual split is nearly all.
        few = self.split.takes_few and 2 * sum(map(len, parts.values())) < total
        return replace(recipe, chosen=np.sort(np.concatenate(list(parts.values()))) if few else None), parts

    def read(self, recipe: Recipe) -> FrameSet:
        """The molecules of a recipe; processed once and then kept on disk."""
        from e3frame.data.pipeline.dataset import content_key, load_or_build
        from e3frame.data.pipeline.prepare import prepared

        chosen = None if recipe.chosen is None else recipe.chosen.tolist()
        labels = {name: [*label] for name, label in recipe.labels.labels.items()}
        key = content_key(recipe.reader.files, [recipe.r_max, labels, chosen, recipe.isolated, recipe.edges])
        path = self.cache_folder() / f"qm9-{key}.safetensors"
        return load_or_build(path, recipe.files, lambda: prepared(recipe, self.processes), recipe.r_max, self.storage)

    def recipe(self, r_max: float, labels: Mapping[str, Label]) -> Recipe:
        """How the graphs of all molecules are made.

        Raises:
            DataError: a label that is not declared, or files that are not there.
        """
        from e3frame.data.pipeline.labels import LabelReader
        from e3frame.data.pipeline.prepare import Recipe

        self.require_declared(labels)
        keys = {name: name.removesuffix("_atom") for name in labels}
        values = LabelReader(dict(sorted(labels.items())), keys, Units())
        reader = Qm9Reader(self.source, tuple(self._files()))
        # One name for all files: a molecule is known by its number in GDB-9. Skipping lines is cheap, but not free.
        files, stored = (f"data=qm9 ({self.source})",), self.neighbors == "stored"
        apart = "isolated_atoms" in self.allow
        return Recipe(reader, files, r_max, values, piece=16384, edges=stored, isolated=apart)

    def _files(self) -> list[str]:
        from e3frame.data.formats.qm9_sources import pack_files, raw_files

        if self.source == "qm9pack":
            return pack_files()
        return raw_files(self._root())

    def _root(self) -> Path:
        return with_home(self.root or self.cache_folder() / "raw" / "qm9")


@dataclass(frozen=True)
class Qm9Reader:
    """Molecules by their place in the set; in messages, and in the graphs, by their number in GDB-9 from 0."""

    source: str
    files: tuple[str, ...]

    def count(self, file: str) -> int:
        from e3frame.data.formats.qm9_sources import count_pack, count_raw

        return (count_pack if self.source == "qm9pack" else count_raw)(self.files)

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Sequence[int]]:
        return numbered(self.count(file), frames, size)

    def read(self, file: str, portion: Sequence[int]) -> Iterator[Molecule]:
        from e3frame.data.formats.qm9_sources import pack_molecules, raw_molecules

        return (pack_molecules if self.source == "qm9pack" else raw_molecules)(self.files, portion)
