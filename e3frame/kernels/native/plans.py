"""Plans of products as structures for the kernels, and as text, the form in which operators of torch take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from e3frame.algebra import wigner
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.plan import Instruction, ProductPlan
from e3frame.kernels.backends import kept_with_plans
from e3frame.kernels.native.library import Entry, Path, Plan, Term, array, require

_LARGEST_DEGREE = 11


def runs(plan: ProductPlan) -> bool:
    """Whether the kernels run a plan: channel-wise (uvu) paths of degrees up to 11."""
    return all(ins.connection_mode == "uvu" and max(plan.degrees(ins)) <= _LARGEST_DEGREE for ins in plan.instructions)


@lru_cache(maxsize=1024)
def encode(plan: ProductPlan) -> str:
    """Write a plan of channel-wise paths as text, without loss."""
    paths = (
        f"{ins.i_in1},{ins.i_in2},{ins.i_out},{int(ins.has_weight)},{ins.path_weight.hex()}"
        for ins in plan.instructions
    )
    return "|".join([str(plan.irreps_in1), str(plan.irreps_in2), str(plan.irreps_out), *paths])


text_of = kept_with_plans(encode)


def decode(text: str) -> ProductPlan:
    """Read a plan written by `encode`."""
    in1, in2, out, *paths = text.split("|")
    irreps = (Irreps(in1), Irreps(in2), Irreps(out))
    instructions = []
    for path in paths:
        i1, i2, i_out, has_weight, path_weight = path.split(",")
        known = all(0 <= int(i) < len(own) for i, own in zip((i1, i2, i_out), irreps, strict=True))
        require(known and irreps[0][int(i1)].mul == irreps[2][int(i_out)].mul, "a product", text)
        shape = (irreps[0][int(i1)].mul, irreps[1][int(i2)].mul)
        weighted, c = has_weight == "1", float.fromhex(path_weight)
        instructions.append(Instruction(int(i1), int(i2), int(i_out), "uvu", weighted, c, shape))
    plan = ProductPlan(*irreps, tuple(instructions))
    require(runs(plan), "a product", text)
    return plan


@lru_cache(maxsize=1024)
def weighted(text: str) -> str:
    """Return the encoded plan with only the paths that have weights."""
    plan = decode(text)
    return encode(replace(plan, instructions=tuple(ins for ins in plan.instructions if ins.has_weight)))


class Compiled(NamedTuple):
    """A plan as a structure for the kernels.

    Attributes:
        dims: sizes of the last axes of x, y, w and out.
        order: where the kernels' weights, path by path and v by v with u running fastest, stand among the plan's, in
            which v runs fastest; None where both are the same. An array, because a plan is kept: a tensor made while
            torch.compile traces would be a fake one for ever.
        kept: the arrays that ``struct`` points to.
    """

    struct: Plan
    dims: tuple[int, int, int, int]
    order: np.ndarray | None
    kept: tuple[object, ...]


@lru_cache(maxsize=1024)
def compiled(text: str) -> Compiled:
    """Compile an encoded plan; each copy v of a harmonic becomes a path of its own."""
    plan = decode(text)
    y_slices = plan.irreps_in2.slices()
    paths: list[Path] = []
    entries: list[Entry] = []
    order: list[np.ndarray] = []
    weights = 0
    for ins, where in zip(plan.instructions, plan.weight_slices, strict=True):
        mul_u, mul_v = ins.path_shape
        if 0 in ins.path_shape:
            order += [] if where is None else [np.arange(where.start, where.stop)]
            weights += 0 if where is None else prod(ins.path_shape)
            continue
        own = _entries(plan, ins)
        for v in range(mul_v):
            y = y_slices[ins.i_in2].start + v * plan.irreps_in2[ins.i_in2].ir.dim
            weight = -1 if where is None else weights
            diagonal = plan.degrees(ins)[1] == 0
            paths.append(Path(ins.i_in1, ins.i_out, y, weight, diagonal, len(entries), len(own)))
            if where is not None:
                order.append(where.start + v + mul_v * np.arange(mul_u))
                weights += mul_u
        entries += own
    return _pack(plan, paths, entries, np.concatenate(order) if order else np.arange(0))


def _entries(plan: ProductPlan, ins: Instruction) -> list[Entry]:
    """Return the nonzero ``path_weight C_ijk``, ordered by k, then i."""
    l1, l2, l3 = plan.degrees(ins)
    c = ins.path_weight * wigner.wigner_3j(l1, l2, l3)
    if l2 == 0:
        return [Entry(0, 0, c[0, 0, 0])]
    return [
        Entry(k * (2 * l1 + 1) + i, j, c[i, j, k])
        for k in range(2 * l3 + 1)
        for i in range(2 * l1 + 1)
        for j in np.flatnonzero(c[i, :, k])
    ]


def terms(irreps: Irreps) -> Sequence[Term]:
    """Return the terms of irreps as structures for the kernels."""
    return [Term(where.start, m.mul, m.ir.dim) for where, m in zip(irreps.slices(), irreps, strict=True)]


def _pack(plan: ProductPlan, paths: list[Path], entries: list[Entry], order: np.ndarray) -> Compiled:
    terms_in, terms_out = terms(plan.irreps_in1), terms(plan.irreps_out)
    dims = (plan.irreps_in1.dim, plan.irreps_in2.dim, plan.weight_numel, plan.irreps_out.dim)
    kept = tuple(
        array(kind, items) for kind, items in ((Term, terms_in), (Term, terms_out), (Path, paths), (Entry, entries))
    )
    sizes = (len(terms_in), len(terms_out), len(paths), dims[0], dims[1], dims[3], dims[2])
    moved = None if np.array_equal(order, np.arange(len(order))) else order
    return Compiled(Plan(*sizes, *kept), dims, moved, kept)
