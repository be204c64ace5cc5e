"""Plan of the symmetric product: all equivariant polynomials of a channel's components, weighted and summed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.irreps import Irrep, Irreps, IrrepsLike
from e3frame.algebra.plan import check_choice
from e3frame.algebra.symmetric_counts import Basis, count_couplings

if TYPE_CHECKING:  # type checks are made without numpy
    from e3frame.algebra.symmetric_entries import Entries, Lowered
    from e3frame.algebra.symmetric_power import Indices
    from e3frame.algebra.wigner import Array

__all__ = [
    "HIGHEST_CORRELATION",
    "Basis",
    "SymmetricBlock",
    "SymmetricProductPlan",
    "channels_of",
    "plan_symmetric_product",
    "reachable_by_powers",
]

HIGHEST_CORRELATION = 4


class SymmetricBlock(NamedTuple):
    """One copy of an irrep in the output for each channel, with weights of its own.

    Attributes:
        ir: the irrep.
        start: first column in the output: channel u has its component k in column ``start + u (2L + 1) + k``.
        first: its first coupling: coupling p of the block has the weights ``w[row, first + p, u]``.
        numbers: number of couplings of each degree 1 to ν, which may be 0.
        entries: coefficients of each degree 1 to ν. Blocks of the same irrep share them.
    """

    ir: Irrep
    start: int
    first: int
    numbers: tuple[int, ...]
    entries: tuple[Entries, ...]


@dataclass(frozen=True)
class SymmetricProductPlan:
    """The product ``irreps_in -> irreps_out`` of each channel with itself; built by `plan_symmetric_product`.

    For each row n with index s, channel u and block of the output,
    ``out_uk = Σ_ν Σ_p w[s, p, u] Σ_m C_kmp Π_{i in m} x_ui`` with the monomials m of degree ν = 1, ..., correlation.

    A channel u of the input is the u-th copy of every term, so that all terms have one multiplicity ``mul``. Its
    components i count over the terms: component c of term t is ``i = offset[t] + c``, and stands in column
    ``offset[t] mul + u (2l + 1) + c`` of x, with the offsets Σ (2l + 1) of the terms before.

    Each term of the output has a multiple of ``mul`` copies: term ``(q mul)xL`` is q blocks side by side.

    The numbers below are computed at their first use; the counts, of which types are made, without them.

    Attributes:
        correlation: highest degree.
        rows: number of rows of weights: of species, or 1 if they are shared.
        basis: ``reduced``, without linear dependence, normalized; or ``full``, that of mace-torch, in its order.
    """

    irreps_in: Irreps
    irreps_out: Irreps
    correlation: int
    rows: int
    basis: Basis

    @property
    def mul(self) -> int:
        """Number of channels."""
        return self.irreps_in[0].mul

    @property
    def dim(self) -> int:
        """Number of components of a channel of the input."""
        return sum(ir.dim for _, ir in self.irreps_in)

    @property
    def terms(self) -> tuple[Irrep, ...]:
        """Irreps of a channel of the input."""
        return tuple(ir for _, ir in self.irreps_in)

    @property
    def copies(self) -> tuple[Irrep, ...]:
        """Irrep of each block of the output."""
        return tuple(ir for mul, ir in self.irreps_out for _ in range(mul // self.mul))

    @cached_property
    def numbers(self) -> dict[Irrep, tuple[int, ...]]:
        """Number of couplings of each degree, for each irrep of the output."""
        counts = [count_couplings(self.terms, order, self.basis) for order in range(1, self.correlation + 1)]
        return {ir: tuple(count[ir] for count in counts) for ir in self.copies}

    @cached_property
    def num_couplings(self) -> int:
        """Number of couplings of all blocks."""
        return sum(sum(self.numbers[ir]) for ir in self.copies)

    @property
    def unread(self) -> Irreps:
        """Terms of the input that no coupling reads: without one of their irrep there are as many."""

        def counts(terms: tuple[Irrep, ...]) -> list[int]:
            every = [count_couplings(terms, order, "reduced") for order in range(1, self.correlation + 1)]
            return [count[ir] for count in every for ir in self.numbers]

        own = self.terms
        places = [own.index(ir) for ir in dict.fromkeys(own)]
        unread = {own[t] for t in places if counts((*own[:t], *own[t + 1 :])) == counts(own)}
        return self.irreps_in.filter(keep=lambda mul_ir: mul_ir.ir in unread)

    @property
    def weight_shape(self) -> tuple[int, int, int]:
        """Shape of the weights: (rows, num_couplings, mul)."""
        return self.rows, self.num_couplings, self.mul

    @property
    def initial_scales(self) -> tuple[float, ...]:
        """Standard deviation of the weights of each coupling at initialisation.

        1 in the reduced basis, whose coefficients have the normalization; for the full basis that of mace-torch, the
        inverse of the number of couplings of the degree.
        """
        if self.basis == "reduced":
            return (1.0,) * self.num_couplings
        return tuple(1 / n for ir in self.copies for n in self.numbers[ir] for _ in range(n))

    @cached_property
    def _lowered(self) -> Lowered:
        from e3frame.algebra.symmetric_entries import lower

        return lower(self.terms, tuple(dict.fromkeys(self.copies)), self.correlation, self.basis)

    @property
    def monomials(self) -> tuple[Indices, ...]:
        """Monomials of each degree 1 to ν, in lexical order: (monomials, degree), sorted components i1 <= i2 <= ...

        These are the ones in the entries of any block, and what is left of those without their last factor.
        """
        return self._lowered.monomials

    @property
    def prefixes(self) -> tuple[Indices, ...]:
        """For each degree 2 to ν, the row of every monomial without its last factor among those of one degree less.

        ``m_ν[r] = m_{ν-1}[prefixes[ν-2][r]] · x[monomials[ν-1][r, -1]]``.
        """
        return self._lowered.prefixes

    @cached_property
    def blocks(self) -> tuple[SymmetricBlock, ...]:
        """Blocks of the output, in order."""
        blocks, start, first = [], 0, 0
        for ir in self.copies:
            blocks.append(SymmetricBlock(ir, start, first, self.numbers[ir], self._lowered.entries[ir]))
            start += self.mul * ir.dim
            first += sum(self.numbers[ir])
        return tuple(blocks)

    def reduced(self) -> SymmetricProductPlan:
        """Return the plan of the same product in the reduced basis."""
        return _planned(self.irreps_in, self.irreps_out, self.correlation, self.rows, "reduced")

    def reduce_weights(self, w: Array) -> Array:
        """Return the weights with which `reduced` gives the same outputs: a linear map of each row and channel.

        Args:
            w: (rows, num_couplings, mul).
        """
        from e3frame.algebra.symmetric_entries import reduce_weights

        return reduce_weights(self, w)

    def express(self, ir: Irrep, tensors: Array) -> Array:
        """Return the weights of a reduced plan with which a block of ``ir`` is ``Σ_p v_p Σ_ij.. T_kij..p x_i x_j ..``.

        Args:
            ir: an irrep of the output.
            tensors: (2L + 1, d, ..., d, n), couplings of one degree ν in any basis, with ν axes of length ``dim``.

        Returns:
            R (couplings of the degree, n): the weights are ``w_q = Σ_p R_qp v_p``.
        """
        from e3frame.algebra.symmetric_entries import express_tensors

        return express_tensors(self, ir, tensors)


def channels_of(irreps: IrrepsLike) -> int:
    """Return the multiplicity that all terms have.

    Raises:
        ValueError: there are no irreps, or two multiplicities.
    """
    irreps = Irreps(irreps)
    if irreps.dim == 0:
        raise AssertedError(f"a symmetric product needs irreps, got {str(irreps) or 'none'}")
    for mul_ir in irreps:
        if mul_ir.mul != irreps[0].mul:
            raise AssertedError(
                f"a symmetric product needs terms of one multiplicity, got {irreps[0]} and {mul_ir} in {irreps}"
            )
    return irreps[0].mul


def reachable_by_powers(irreps: IrrepsLike, correlation: int, basis: Basis = "reduced") -> tuple[Irrep, ...]:
    """Return the irreps of the symmetric powers 1 to ``correlation`` of one channel, sorted, each once.

    The full basis lacks some in degree 4, see `e3frame.algebra.symmetric_power.full_couplings`.

    >>> reachable_by_powers("8x1o", 2), reachable_by_powers("8x0e + 8x1o", 2)
    ((0e, 1o, 2e), (0e, 1o, 2e))
    """
    terms = tuple(ir for _, ir in Irreps(irreps))
    degrees = range(1, correlation + 1)
    found = {ir for n in degrees for ir in count_couplings(terms, n, "reduced") if count_couplings(terms, n, basis)[ir]}
    return tuple(sorted(found))


def plan_symmetric_product(
    irreps_in: IrrepsLike,
    irreps_out: IrrepsLike,
    correlation: int,
    rows: int = 1,
    basis: Basis = "reduced",
) -> SymmetricProductPlan:
    """Plan the weighted sum of all products of up to ``correlation`` factors of a channel with itself.

    This is the product basis of MACE (Batatia et al. 2022, https://arxiv.org/abs/2206.07697, eq. 10 and 11), the atomic
    cluster expansion (Drautz 2019, https://doi.org/10.1103/PhysRevB.99.014104).

    The couplings of the reduced basis have unit second moment for independent normal inputs, divided by √(d n): n is
    the number of couplings of the degree and irrep, d the number of degrees that reach the irrep. With normal weights
    of unit variance each output has unit variance, to which all degrees contribute equally.

    Args:
        irreps_in: all terms of one multiplicity, the number of channels.
        irreps_out: irreps of the result, each of a multiple of this multiplicity.
        correlation: 1 to 4.
        rows: number of rows of weights, such as the number of species.
        basis: ``reduced``, in which couplings are linearly independent; ``full``, that of mace-torch.

    Raises:
        ValueError: an argument that breaks these rules, or an output that no product reaches.

    >>> plan = plan_symmetric_product("8x0e + 8x1o + 8x2e + 8x3o", "8x0e + 8x1o", 3)
    >>> plan.numbers, plan.weight_shape
    ({0e: (1, 4, 8), 1o: (1, 3, 12)}, (1, 29, 8))
    """
    check_choice("basis", basis, Basis)
    irreps_in, irreps_out = Irreps(irreps_in), Irreps(irreps_out)
    mul = channels_of(irreps_in)
    if correlation not in range(1, HIGHEST_CORRELATION + 1):
        raise AssertedError(f"correlation must be 1 to {HIGHEST_CORRELATION}, got {correlation}")
    if rows < 1:
        raise AssertedError(f"rows must be positive, got {rows}")
    found = reachable_by_powers(irreps_in, correlation, basis)
    for mul_ir in irreps_out:
        if mul_ir.mul % mul:
            raise AssertedError(f"the multiplicity of each output must be a multiple of {mul}, got {mul_ir}")
        if mul_ir.ir not in found:
            gives = ", ".join(map(str, found))
            raise AssertedError(f"{mul_ir} is out of reach: products of 1 to {correlation} of {irreps_in} give {gives}")
    return _planned(irreps_in, irreps_out, correlation, rows, basis)


@lru_cache(256)
def _planned(irreps_in: Irreps, irreps_out: Irreps, correlation: int, rows: int, basis: Basis) -> SymmetricProductPlan:
    """Build the plan; cached, because a type check needs it several times."""
    return SymmetricProductPlan(irreps_in, irreps_out, correlation, rows, basis)
