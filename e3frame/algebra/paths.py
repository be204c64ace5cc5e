"""Builders of product plans: the paths of each kind of tensor product. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Unpack

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.irreps import Irrep, IrrepLike, Irreps, IrrepsLike
from e3frame.algebra.linear import LinearInstruction, LinearPlan, plan_linear
from e3frame.algebra.plan import (
    ConnectionMode,
    Instruction,
    IrrepNormalization,
    PathOptions,
    PlanOptions,
    ProductPlan,
    check_choice,
    plan_explicit,
)

__all__ = [
    "Instruction",
    "LinearInstruction",
    "LinearPlan",
    "ProductPlan",
    "plan_channelwise",
    "plan_convolution",
    "plan_elementwise",
    "plan_explicit",
    "plan_full",
    "plan_fully_connected",
    "plan_linear",
    "plan_square",
    "reachable",
]

IrrepFilter = Irreps | Iterable[IrrepLike] | str | None


def reachable(irreps1: IrrepsLike, irreps2: IrrepsLike) -> tuple[Irrep, ...]:
    """Return the irreps in the tensor product of the two, sorted, each once.

    >>> reachable("0e + 1o", "1o")
    (0e, 1o, 1e, 2e)
    """
    return tuple(
        sorted(
            {
                ir
                for mul1, ir1 in Irreps(irreps1)
                for mul2, ir2 in Irreps(irreps2)
                if mul1 > 0 and mul2 > 0
                for ir in ir1 * ir2
            }
        )
    )


def _accepts(irreps: IrrepFilter) -> Callable[[Irrep], bool]:
    if irreps is None:
        return lambda ir: True
    accepted = {ir for _, ir in Irreps(irreps)}
    return lambda ir: ir in accepted


def _sorted_outputs(terms: list[tuple[int, Irrep]], paths: list[tuple[Any, ...]]) -> tuple[Irreps, list[Any]]:
    """Sort the output terms by irrep and update the paths."""
    irreps, p, _ = Irreps(terms).sort()
    return irreps, [(i_in1, i_in2, p[i_out], *rest) for i_in1, i_in2, i_out, *rest in paths]


def plan_full(
    irreps_in1: IrrepsLike,
    irreps_in2: IrrepsLike,
    filter_ir_out: IrrepFilter = None,
    **normalization: Unpack[PlanOptions],
) -> ProductPlan:
    """Plan ``z_uv = x_u ⊗ y_v``: all products of two irreps, without weights, sorted by irrep.

    Args:
        irreps_in1, irreps_in2: irreps of x and y.
        filter_ir_out: irreps to keep, by default all.
        normalization: see `plan_explicit`.
    """
    irreps_in1, irreps_in2 = Irreps(irreps_in1).simplify(), Irreps(irreps_in2).simplify()
    accepts = _accepts(filter_ir_out)
    terms: list[tuple[int, Irrep]] = []
    paths: list[tuple[Any, ...]] = []
    for i1, (mul1, ir1) in enumerate(irreps_in1):
        for i2, (mul2, ir2) in enumerate(irreps_in2):
            for ir in filter(accepts, ir1 * ir2):
                paths.append((i1, i2, len(terms), "uvuv", False))
                terms.append((mul1 * mul2, ir))
    return plan_explicit(irreps_in1, irreps_in2, *_sorted_outputs(terms, paths), **normalization)


def plan_fully_connected(
    irreps_in1: IrrepsLike, irreps_in2: IrrepsLike, irreps_out: IrrepsLike, **normalization: Unpack[PlanOptions]
) -> ProductPlan:
    """Plan ``z_w = Σ_uv w_uvw x_u ⊗ y_v``: all allowed paths, with weights. Outputs without a path are zero.

    Args:
        irreps_in1, irreps_in2, irreps_out: irreps of x, y and z.
        normalization: see `plan_explicit`.
    """
    irreps_in1, irreps_in2, irreps_out = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
    paths = [
        (i1, i2, i_out, "uvw", True)
        for i1, (_, ir1) in enumerate(irreps_in1)
        for i2, (_, ir2) in enumerate(irreps_in2)
        for i_out, (_, ir_out) in enumerate(irreps_out)
        if ir_out in list(ir1 * ir2)
    ]
    return plan_explicit(irreps_in1, irreps_in2, irreps_out, paths, **normalization)


def plan_elementwise(
    irreps_in1: IrrepsLike,
    irreps_in2: IrrepsLike,
    filter_ir_out: IrrepFilter = None,
    broadcast: bool = False,
    **normalization: Unpack[PlanOptions],
) -> ProductPlan:
    """Plan ``z_u = x_u ⊗ y_u`` for each copy u of the irreps, without weights.

    Args:
        irreps_in1, irreps_in2: irreps of x and y, equally many.
        filter_ir_out: irreps to keep, by default all.
        broadcast: if y has one copy in each term, and as many terms as x, multiply it with all copies of x's term.
        normalization: see `plan_explicit`.

    Raises:
        ValueError: the inputs have different numbers of irreps.
    """
    irreps_in1, irreps_in2 = Irreps(irreps_in1), Irreps(irreps_in2)
    accepts = _accepts(filter_ir_out)
    if broadcast and irreps_in1.num_irreps != irreps_in2.num_irreps == len(irreps_in1) == len(irreps_in2):
        outputs = _copy_by_copy(irreps_in1, irreps_in2, ((i, i) for i in range(len(irreps_in1))), accepts)
        return plan_explicit(irreps_in1, irreps_in2, *outputs, **normalization)
    irreps_in1, irreps_in2 = irreps_in1.simplify(), irreps_in2.simplify()
    if irreps_in1.num_irreps != irreps_in2.num_irreps:
        raise AssertedError(
            f"an elementwise product needs equally many irreps in both inputs: "
            f"{irreps_in1} has {irreps_in1.num_irreps}, {irreps_in2} has {irreps_in2.num_irreps}"
        )
    pairs = list(_aligned(irreps_in1, irreps_in2))
    ins = Irreps([(mul, ir1) for mul, ir1, _ in pairs]), Irreps([(mul, ir2) for mul, _, ir2 in pairs])
    outputs = _copy_by_copy(*ins, ((i, i) for i in range(len(pairs))), accepts, single="uuu")
    return plan_explicit(*ins, *outputs, **normalization)


def plan_channelwise(
    irreps_in1: IrrepsLike,
    irreps_in2: IrrepsLike,
    filter_ir_out: IrrepFilter = None,
    weights: bool = False,
    **normalization: Unpack[PlanOptions],
) -> ProductPlan:
    """Plan ``z_u = (w_u) x_u ⊗ y_u`` for all pairs of terms of x and y, one output term per path, sorted by irrep.

    Copy u of x meets copy u of y, or its only copy. The first is the product of Allegro (Musaelian et al. 2023,
    https://doi.org/10.1038/s41467-023-36329-y), the second, with weights, that of a convolution.

    Args:
        irreps_in1, irreps_in2: irreps of x and y.
        filter_ir_out: irreps to keep, by default all.
        weights: whether each copy of each path has a weight.
        normalization: see `plan_explicit`.

    Raises:
        ValueError: a term of y has another number of copies than 1 and than a term of x.

    >>> plan_channelwise("8x0e + 8x1o", "8x1o", "0e + 1o").irreps_out
    8x0e+8x1o
    """
    irreps_in1, irreps_in2 = Irreps(irreps_in1), Irreps(irreps_in2)
    for term2 in irreps_in2:
        for term1 in irreps_in1:
            if term2.mul not in (1, term1.mul):
                raise AssertedError(
                    f"a channelwise product needs as many copies in both inputs, or one in the second: "
                    f"{irreps_in1} has {term1}, {irreps_in2} has {term2}"
                )
    pairs = ((i, j) for i in range(len(irreps_in1)) for j in range(len(irreps_in2)))
    terms, paths = _copy_by_copy(irreps_in1, irreps_in2, pairs, _accepts(filter_ir_out), weights)
    return plan_explicit(irreps_in1, irreps_in2, *_sorted_outputs(terms, paths), **normalization)


def _copy_by_copy(
    irreps_in1: Irreps,
    irreps_in2: Irreps,
    pairs: Iterable[tuple[int, int]],
    accepts: Callable[[Irrep], bool],
    weights: bool = False,
    single: ConnectionMode = "uvu",
) -> tuple[list[tuple[int, Irrep]], list[tuple[Any, ...]]]:
    """Return the outputs and paths of products of copies u, or of each u with an only copy, for pairs of terms.

    Args:
        single: mode for a second term with one copy.
    """
    terms: list[tuple[int, Irrep]] = []
    paths: list[tuple[Any, ...]] = []
    for i, j in pairs:
        (mul1, ir1), (mul2, ir2) = irreps_in1[i], irreps_in2[j]
        for ir in filter(accepts, ir1 * ir2):
            paths.append((i, j, len(terms), single if mul2 == 1 else "uuu", weights))
            terms.append((mul1, ir))
    return terms, paths


def _aligned(irreps_in1: Irreps, irreps_in2: Irreps) -> Iterator[tuple[int, Irrep, Irrep]]:
    """Yield the common runs ``(mul, ir1, ir2)`` of two lists of equally many irreps."""
    rest1, rest2 = ([(mul, ir) for mul, ir in reversed(irreps)] for irreps in (irreps_in1, irreps_in2))
    while rest1:
        (mul1, ir1), (mul2, ir2) = rest1.pop(), rest2.pop()
        mul = min(mul1, mul2)
        yield mul, ir1, ir2
        if mul1 > mul:
            rest1.append((mul1 - mul, ir1))
        if mul2 > mul:
            rest2.append((mul2 - mul, ir2))


def plan_square(
    irreps_in: IrrepsLike,
    irreps_out: IrrepsLike = None,
    filter_ir_out: IrrepFilter = None,
    irrep_normalization: IrrepNormalization = "component",
    **normalization: Unpack[PathOptions],
) -> ProductPlan:
    """Plan ``x ⊗ x`` without its redundant half: with weights into ``irreps_out``, or without, as a full product.

    The coefficients account for the variance of ``x_u ⊗ x_u``, which differs from that of independent inputs.

    Args:
        irreps_in: irreps of x.
        irreps_out: irreps of the output; None for the full product, sorted by irrep.
        filter_ir_out: irreps to keep in the full product, by default all.
        irrep_normalization, normalization: see `plan_explicit`.

    Raises:
        ValueError: both ``irreps_out`` and ``filter_ir_out``.
    """
    check_choice("irrep_normalization", irrep_normalization, IrrepNormalization)
    irreps_in = Irreps(irreps_in).simplify()
    if irreps_out is not None and filter_ir_out is not None:
        raise ValueError("irreps_out and filter_ir_out exclude each other")
    terms: list[tuple[int, Irrep]] = []
    paths: list[tuple[Any, ...]] = []
    if irreps_out is None:
        accepts = _accepts(filter_ir_out)
        for i1, i2, ir_out in _square_pairs(irreps_in):
            if not accepts(ir_out):
                continue
            mul1, mul2 = irreps_in[i1].mul, irreps_in[i2].mul
            muls = {"uvuv": mul1 * mul2} if i1 != i2 else {"uvu<v": mul1 * (mul1 - 1) // 2, "uuu": mul1}
            for mode, alpha in _square_modes(irreps_in, i1, i2, ir_out, tuple(muls), irrep_normalization):
                paths.append((i1, i2, len(terms), mode, False, alpha))
                terms.append((muls[mode], ir_out))
        outputs, paths = _sorted_outputs(terms, paths)
    else:
        outputs = Irreps(irreps_out).simplify()
        for i1, i2 in _ordered_pairs(irreps_in):
            for i_out, (_, ir_out) in enumerate(outputs):
                if ir_out in list(irreps_in[i1].ir * irreps_in[i2].ir):
                    modes = ("uvw",) if i1 != i2 else ("u<vw", "uuw")
                    for mode, alpha in _square_modes(irreps_in, i1, i2, ir_out, modes, irrep_normalization):
                        paths.append((i1, i2, i_out, mode, True, alpha))
    return plan_explicit(irreps_in, irreps_in, outputs, paths, irrep_normalization="none", **normalization)


def _ordered_pairs(irreps: Irreps) -> Iterator[tuple[int, int]]:
    return ((i1, i2) for i1 in range(len(irreps)) for i2 in range(i1, len(irreps)))


def _square_pairs(irreps: Irreps) -> Iterator[tuple[int, int, Irrep]]:
    return ((i1, i2, ir) for i1, i2 in _ordered_pairs(irreps) for ir in irreps[i1].ir * irreps[i2].ir)


def _square_modes(
    irreps: Irreps, i1: int, i2: int, ir_out: Irrep, modes: tuple[str, ...], normalization: IrrepNormalization
) -> Iterator[tuple[str, float]]:
    """Yield the connection modes that do not vanish between two terms of the input, and their squared coefficients.

    ``modes`` is one mode for distinct terms, or the modes for u < v and for u = v of one term.
    """
    dim1, dim2 = irreps[i1].ir.dim, irreps[i2].ir.dim
    alpha: float = {"component": ir_out.dim, "norm": dim1 * dim2, "none": 1}[normalization]
    if i1 != i2 or irreps[i1].mul > 1:
        yield modes[0], alpha
    # The product of an irrep with itself is symmetric in degrees 0, 2, ... and vanishes in the others.
    if i1 == i2 and ir_out.l % 2 == 0:
        if ir_out.l == 0:
            alpha = {"component": 1 / (dim1 + 2), "norm": dim1, "none": 1}[normalization]
        else:
            alpha = {"component": ir_out.dim / 2, "norm": dim1 * (dim1 + 2) / 2, "none": 1}[normalization]
        yield modes[1], alpha


def plan_convolution(
    irreps_in: IrrepsLike,
    irreps_sh: IrrepsLike,
    irreps_out_filter: IrrepFilter = None,
    **normalization: Unpack[PlanOptions],
) -> ProductPlan:
    """Plan ``z_u = w_u x_u ⊗ y``: the channel-wise product with edge harmonics, one output term per path.

    The output terms are sorted by irrep. Path n writes term n and reads chunk n of the weights. This is the product of
    NequIP (https://doi.org/10.1038/s41467-022-29939-5) and MACE (https://arxiv.org/abs/2206.07697).

    Args:
        irreps_in: irreps of x.
        irreps_sh: irreps of y, each of multiplicity 1.
        irreps_out_filter: irreps to keep, by default all.
        normalization: see `plan_explicit`.

    Raises:
        ValueError: a harmonic with another multiplicity, or no path into the filter.
    """
    irreps_in, irreps_sh = Irreps(irreps_in), Irreps(irreps_sh)
    for mul_ir in irreps_sh:
        if mul_ir.mul != 1:
            raise ValueError(f"a convolution needs edge harmonics of multiplicity 1, got {mul_ir} in {irreps_sh}")
    accepts = _accepts(irreps_out_filter)
    found = [
        (ir, i, j)
        for i, (_, ir_in) in enumerate(irreps_in)
        for j, (_, ir_sh) in enumerate(irreps_sh)
        for ir in filter(accepts, ir_in * ir_sh)
    ]
    if not found:
        gives = ", ".join(map(str, reachable(irreps_in, irreps_sh))) or "nothing"
        wanted = "an output" if irreps_out_filter is None else irreps_out_filter
        raise ValueError(f"{wanted} is out of reach: ({irreps_in}) ⊗ ({irreps_sh}) gives {gives}")
    found.sort(key=lambda path: path[0])
    terms = [(irreps_in[i].mul, ir) for ir, i, _ in found]
    paths = [(i, j, n, "uvu", True) for n, (_, i, j) in enumerate(found)]
    return plan_explicit(irreps_in, irreps_sh, terms, paths, **normalization)
