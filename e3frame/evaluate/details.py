"""What is said of a whole split's predictions, beyond the errors that add up batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from e3frame.config.targets import TargetSpec
from e3frame.evaluate.breakdown import by_irrep, by_species, frame_errors, r2
from e3frame.evaluate.metrics import Errors, displayed
from e3frame.evaluate.pairs import Pair, in_components


@dataclass(frozen=True)
class Predicted:
    """One target over all frames of a split.

    Attributes:
        irreps: predictions and labels, in irreps.
        unit: of the target.
        atoms: (frames,) number of atoms.
        rows: (frames,) number of values: atoms, or edges, or one.
        kinds: (all rows,) index into ``symbols`` of each row: its atom's species, or the two of its edge.
        symbols: names of the kinds; none for values per graph.
        composition: (frames, species) atoms of each species, for a sum over the atoms; else None.
    """

    target: TargetSpec
    irreps: Pair
    unit: str
    atoms: Tensor
    rows: Tensor
    kinds: Tensor
    symbols: Sequence[str]
    composition: Tensor | None = None

    @property
    def shown(self) -> Pair:
        """Cartesian where the target is."""
        return in_components(self.target, self.irreps)

    def frame_errors(self) -> Tensor:
        """(frames,) root mean square error of each frame in the unit of the errors; NaN where there is no label."""
        errors = frame_errors(self.shown, self.rows)
        return displayed(self.unit)[0] * errors / (self.atoms if self.target.per_atom else 1)

    def detailed(self, errors: Errors) -> Errors:
        """The errors, completed with R², the number of labelled frames, and the parts by irrep and species."""
        factor, irreps = displayed(self.unit)[0], self.target.type.irreps
        each, frames, composition = self.irreps, len(self.atoms), self.composition
        if self.target.per_atom:
            atoms = self.atoms.unsqueeze(-1)
            each = Pair(*(x / atoms for x in (each.prediction, each.label)))
            composition = None if composition is None else composition / atoms
        labelled = int((~self.frame_errors().isnan()).sum())
        species = by_species(self.shown, self.kinds, self.symbols, factor) if self.symbols else {}
        return replace(
            errors,
            r2=r2(each, irreps, composition),
            frames=labelled if labelled < frames else None,
            by_irrep=by_irrep(self.irreps, irreps, factor),
            by_species=species,
        )
