"""Pooling of nodes into their graph, the base of ``sum`` and ``mean``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import BATCH, NUM_GRAPHS, SPECIES, Binding, LayerSpec, Scope, Signature, TensorType
from e3frame.spec.reach import require_claim, require_same
from e3frame.spec.scale_shift import AutoScaleShift, ScaleShift

if TYPE_CHECKING:
    from torch import nn


class Pooling(LayerSpec):
    """Base of poolings from nodes to graphs. Sums run in float64, so that large energies keep small differences."""

    reduce: ClassVar[Literal["sum", "mean"]]
    of: str | None = None
    """Field per node to read; default: the latest."""
    per_species_scale_shift: AutoScaleShift | None = None
    """``auto``, or ``{scale: ..., shift: ...}``; only for one even scalar."""
    plus: str | None = None
    """Field per node, of the same irreps, that is added after scale and shift: a known part of an energy in eV, such as
    that of a ``zbl``."""
    irreps_out: IrrepsField | None = None
    """Expected irreps of the result; checked if given."""

    @property
    def extensive(self) -> bool:
        return self.reduce == "sum"

    @property
    def scale_shift(self) -> ScaleShift | None:
        return self.per_species_scale_shift

    def infer(self, scope: Scope) -> Signature:
        x = scope.read(self.of, "node", "of")
        require_claim(self.irreps_out, x.irreps, f"'{x.name}'")
        if self.per_species_scale_shift is not None:
            _check_scale_shift(self.per_species_scale_shift, x, scope)
        inputs = [x.key, SPECIES, BATCH, NUM_GRAPHS]
        if self.plus is not None:
            plus = scope.read(self.plus, "node", "plus")
            require_same(plus, x, "plus")
            inputs.append(plus.key)
        return Signature(tuple(inputs), TensorType(x.irreps, "graph"))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.reduce import Pool
        from e3frame.nn.scale_shift import PerSpeciesScaleShift

        scale_shift = None
        if self.per_species_scale_shift is not None:
            assert scope.species is not None
            scale_shift = PerSpeciesScaleShift(*self.per_species_scale_shift.values(scope.species))
        return Pool(self.reduce, scale_shift)


def _check_scale_shift(scale_shift: ScaleShift, x: Binding, scope: Scope) -> None:
    if x.irreps.dim != 1 or not x.irreps[0].ir.is_scalar():
        raise SpecError(
            ("per_species_scale_shift",),
            f"a shift needs one even scalar (0e), but {x} is not",
            "remove per_species_scale_shift, or read a field of irreps 0e",
        )
    if scope.species is not None:
        scale_shift.require_all(scope.species)
