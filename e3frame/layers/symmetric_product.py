"""``symmetric_product``: the products of each channel with itself, functions of several neighbours at once."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.irreps import Irreps, MulIr
from e3frame.algebra.symmetric_product import (
    HIGHEST_CORRELATION,
    SymmetricProductPlan,
    plan_symmetric_product,
    reachable_by_powers,
)
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import SPECIES, Binding, OneInput, Scope, Signature, TensorType
from e3frame.spec.limits import MONOMIALS
from e3frame.spec.reach import require_within

if TYPE_CHECKING:
    from torch import nn


class SymmetricProduct(OneInput):
    """``out_u = Σ_ν Σ_p w_pu C_p (x_u ⊗ ... ⊗ x_u)`` with ν = 1 to correlation factors (Batatia et al. 2022, eq. 10).

    Channel u is the u-th copy of each irrep of x; linear layers before and after mix the channels. If x is a sum over
    neighbours, a product of ν factors depends on ν neighbours at once, as in the atomic cluster expansion (Drautz
    2019). Before training all numbers of factors contribute equally, and the result has unit variance.
    """

    kind: Literal["symmetric_product"] = "symmetric_product"
    correlation: int = Field(default=3, ge=1, le=HIGHEST_CORRELATION)
    """Largest number of factors ν. Time grows with the number of monomials of a channel."""
    irreps_out: IrrepsField | None = None
    """Irreps of the result, each with the multiplicity of x or a multiple of it; default: all that products reach, up
    to the largest l of x."""
    per_species: bool = True
    """Separate weights w for each species; for a field per node."""
    basis: Literal["reduced", "full"] = "reduced"
    """``reduced``: couplings C_p without linear dependence. ``full``: all couplings of mace-torch, in its order and
    normalization, for weights from there; these are more parameters, but not more functions (fewer of 4 factors)."""
    equation: ClassVar[str] = (
        r"x'_{u,LM} = \sum_{\nu = 1}^{\nu_\mathrm{max}} \sum_p w^{(z)}_{\nu L p u} \sum_{i_1 \ldots i_\nu} "
        r"C^{L M}_{p,\, i_1 \ldots i_\nu}\, x_{u, i_1} \cdots x_{u, i_\nu}"
    )
    example: ClassVar[str] = "{kind: symmetric_product, of: b, correlation: 3, irreps_out: 8x0e + 4x1o}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: symmetric_product, of: a, correlation: 2}",
        "{kind: symmetric_product, of: edge_sh, correlation: 4, irreps_out: 0e + 2x2e, per_species: false}",
        "{kind: symmetric_product, of: a, correlation: 3, irreps_out: 4x1o + 4x2e, basis: full}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        self._check_input(x)
        plan = self._plan(scope)
        inputs = (x.key, SPECIES) if self.per_species else (x.key,)
        return Signature(inputs, TensorType(plan.irreps_out, x.domain), self._warnings(x, plan))

    def num_parameters(self, scope: Scope) -> int:
        rows, couplings, mul = self._plan(scope).weight_shape
        return rows * couplings * mul

    def build(self, scope: Scope) -> nn.Module:
        from e3frame import o3

        x, plan = self.read_one(scope), self._plan(scope)
        rows = scope.num_species if self.per_species else None
        return o3.SymmetricProduct(x.irreps, plan.irreps_out, self.correlation, rows, self.basis)

    def _check_input(self, x: Binding) -> None:
        mul = x.irreps[0].mul
        other = next((mul_ir for mul_ir in x.irreps if mul_ir.mul != mul), None)
        if other is not None:
            largest = max(mul_ir.mul for mul_ir in x.irreps)
            equal = Irreps([(largest, ir) for ir in dict.fromkeys(ir for _, ir in x.irreps)])
            raise SpecError(
                ("of",) if self.of else (),
                f"all multiplicities must be equal, one copy of each irrep for a channel, but {x} has {x.irreps[0]} "
                f"and {other}",
                f"add a linear layer with irreps_out: {equal} before it",
            )
        if self.per_species and x.domain != "node":
            raise SpecError(
                ("per_species",) if "per_species" in self.model_fields_set else ("of",),
                f"weights per species need a field per node, but '{x.name}' is {x.field}",
                "set per_species: false",
            )
        dim = x.irreps.dim // mul
        monomials = comb(dim + self.correlation - 1, self.correlation)
        if monomials > MONOMIALS:
            raise SpecError(
                ("correlation",) if "correlation" in self.model_fields_set else (),
                f"{self.correlation} factors of the {dim} components of a channel of {x} have {monomials:,} monomials, "
                f"at most {MONOMIALS:,} are allowed",
                "lower correlation, or read fewer irreps",
            )

    def _plan(self, scope: Scope) -> SymmetricProductPlan:
        x = self.read_one(scope)
        rows = scope.num_species if self.per_species else 1
        return plan_symmetric_product(x.irreps, self._irreps_out(x), self.correlation, rows, self.basis)

    def _irreps_out(self, x: Binding) -> Irreps:
        mul, found = x.irreps[0].mul, reachable_by_powers(x.irreps, self.correlation, self.basis)
        if self.irreps_out is None:
            return Irreps([(mul, ir) for ir in found if ir.l <= x.irreps.lmax])
        for mul_ir in self.irreps_out:
            if mul_ir.ir not in found:
                self._refuse(mul_ir, x)
            if mul_ir.mul % mul:
                more = -(-mul_ir.mul // mul) * mul
                raise SpecError(
                    ("irreps_out",),
                    f"the multiplicity of {mul_ir} must be {mul}, as in {x}, or a multiple of it",
                    f"write {more}x{mul_ir.ir}, and add a linear layer for {mul_ir} after it",
                )
        return self.irreps_out

    def _refuse(self, mul_ir: MulIr, x: Binding) -> None:
        """Raise SpecError for an irrep out of reach, with the correlation that reaches it if there is one."""
        found = reachable_by_powers(x.irreps, self.correlation, self.basis)
        factors = "1 factor" if self.correlation == 1 else f"up to {self.correlation} factors"
        higher = range(self.correlation + 1, HIGHEST_CORRELATION + 1)
        more = [n for n in higher if mul_ir.ir in reachable_by_powers(x.irreps, n, self.basis)]
        gives = f"a product of {factors} of {x} gives"
        if more:
            problem = f"{mul_ir} is out of reach: {gives} {', '.join(map(str, found))}"
            raise SpecError(("irreps_out",), problem, f"set correlation: {more[0]}")
        require_within("irreps_out", Irreps(mul_ir), found, gives)

    def _warnings(self, x: Binding, plan: SymmetricProductPlan) -> tuple[tuple[str, str], ...]:
        """Warn about terms that nothing reads, and about a number of factors that reaches no output."""
        warnings = []
        if plan.unread:
            key = "irreps_out" if self.irreps_out is not None else "of"
            warnings.append((key, f"{plan.unread} of {x} is not used: no product leads from it to irreps_out"))
        highest = max(n for numbers in plan.numbers.values() for n, number in enumerate(numbers, start=1) if number)
        if highest < self.correlation:
            problem = (
                f"no product of {self.correlation} factors reaches irreps_out; correlation: {highest} gives the same"
            )
            warnings.append(("correlation", problem))
        return tuple(warnings)
