"""``dipole``: the dipole moment of a graph from charges and vectors of its atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.irreps import Irreps
from e3frame.layers._total import Total, read_total
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import BATCH, NUM_GRAPHS, POS, SPECIES, Binding, LayerSpec, Scope, Signature, TensorType
from e3frame.spec.reach import require_claim

if TYPE_CHECKING:
    from torch import nn

_VECTOR, _BOTH = Irreps("1o"), Irreps("0e + 1o")


class Dipole(LayerSpec):
    """``μ = Σ_n q_n (r_n - R) + v_n`` with ``q_n = x_n + (Q - Σ_m x_m) / N``, in e Å for charges in e.

    All charges x are shifted by the same amount so that they add up to the total charge Q. The dipole of a neutral
    molecule then does not depend on the origin; the dipole of an ion is with respect to its centre of mass R, as usual
    in quantum chemistry programs. Positions must be those of a whole molecule: the dipole of a periodic cell is not
    defined. (The charges are shifted as in PhysNet, Unke and Meuwly 2019, 10.1021/acs.jctc.9b00181, and combined with
    atomic vectors as in PaiNN, Schütt, Unke and Gastegger 2021, arXiv 2102.03150.)
    """

    kind: Literal["dipole"] = "dipole"
    of: str | None = None
    """Field per node with a charge and a vector per atom (0e + 1o), or only a charge (0e); default: the latest."""
    total_charge: Total = 0.0
    """Total charge Q in e: one number for all graphs, or the name of a field with one per graph, such as an input of
    the model (``inputs: {total_charge: 0e}``, ``total_charge: total_charge``)."""
    irreps_out: IrrepsField | None = None
    """Expected irreps of the result; checked if given."""
    equation: ClassVar[str] = (
        r"\mu = \sum_n q_n (r_n - R) + v_n, \qquad "
        r"q_n = x_n + \frac{1}{N} \left( Q - \sum_m x_m \right)"
    )
    example: ClassVar[str] = "{kind: dipole, of: charges_and_vectors}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: dipole, of: energies}",
        "{kind: dipole, of: charges_and_vectors, total_charge: -1.0}",
        "{kind: dipole, of: charges_and_vectors, total_charge: total_charge}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = scope.read(self.of, "node", "of")
        self._require_parts(x, scope)
        require_claim(self.irreps_out, scope.irreps(_VECTOR), "a dipole")
        totals = read_total(scope, self.total_charge, "total_charge")
        inputs = (x.key, POS, SPECIES, BATCH, NUM_GRAPHS, *(t.key for t in totals))
        return Signature(inputs, TensorType(_VECTOR, "graph"))

    def build(self, scope: Scope) -> nn.Module:
        from ase.data import atomic_masses

        from e3frame.nn.dipole import Dipole
        from e3frame.spec.elements import ATOMIC_NUMBERS

        assert scope.species is not None
        masses = [float(atomic_masses[ATOMIC_NUMBERS[symbol]]) for symbol in scope.species]
        return Dipole(masses, 0.0 if isinstance(self.total_charge, str) else self.total_charge)

    def _require_parts(self, x: Binding, scope: Scope) -> None:
        vector = scope.irreps(_VECTOR)
        if x.irreps not in (Irreps("0e"), scope.irreps(_BOTH)):
            both = f"0e + {vector[0].ir}"
            hint = f"add a linear layer with irreps_out: {both} before it"
            if x.irreps == vector:
                hint = "to sum vectors only, use kind: sum"
            problem = f"a charge and a vector per atom ({both}, or 0e alone) are required, but {x} is not"
            raise SpecError(("of",), problem, hint)
