"""Products copy by copy (uuu) as polynomials of the components of both inputs, side by side in one tensor.

The kernel is that of the symmetric product, whose monomials are here those of one component of each input.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from e3frame.algebra import wigner
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.plan import Instruction, ProductPlan
from e3frame.kernels.backends import kept_with_plans
from e3frame.kernels.native import library, polynomials
from e3frame.kernels.reference.products import product

_Leaves: TypeAlias = dict[polynomials.Factors, list[tuple[int, float]]]
MARK = "copies"
"""First part of a text, which tells these products from symmetric ones."""


def runs(plan: ProductPlan) -> bool:
    """Whether all paths are uuu, all terms have the same number of copies, and all outputs have a path."""
    muls = {mul for irreps in (plan.irreps_in1, plan.irreps_in2, plan.irreps_out) for mul, _ in irreps}
    alike = len(muls) == 1 and 0 not in muls and all(ins.connection_mode == "uuu" for ins in plan.instructions)
    return alike and {ins.i_out for ins in plan.instructions} == set(range(len(plan.irreps_out)))


@kept_with_plans
def text_of(plan: ProductPlan) -> str:
    """Write a plan as text, without loss."""
    paths = (
        f"{ins.i_in1},{ins.i_in2},{ins.i_out},{int(ins.has_weight)},{ins.path_weight.hex()}"
        for ins in plan.instructions
    )
    return "|".join([MARK, str(plan.irreps_in1), str(plan.irreps_in2), str(plan.irreps_out), *paths])


@lru_cache(maxsize=256)
def read(text: str) -> ProductPlan:
    """Read a plan written by `text_of`."""
    _, in1, in2, out, *paths = text.split("|")
    irreps = (Irreps(in1), Irreps(in2), Irreps(out))
    instructions = []
    for path in paths:
        i1, i2, i_out, has_weight, path_weight = path.split(",")
        known = all(0 <= int(i) < len(own) for i, own in zip((i1, i2, i_out), irreps, strict=True))
        library.require(known, "a product", text)
        shape = (irreps[0][int(i1)].mul,)
        ins = Instruction(int(i1), int(i2), int(i_out), "uuu", has_weight == "1", float.fromhex(path_weight), shape)
        instructions.append(ins)
    plan = ProductPlan(*irreps, tuple(instructions))
    library.require(runs(plan), "a product", text)
    return plan


def weights(w: Tensor, plan: ProductPlan) -> Tensor:
    """Return weights (weight_numel,) as the kernel reads them, (1, paths, copies); those of a path without are 1."""
    mul = plan.irreps_out[0].mul
    own = w.view(-1, mul)
    if all(ins.has_weight for ins in plan.instructions):
        return own.unsqueeze(0)
    if not plan.weight_numel:
        return w.new_ones(1, len(plan.instructions), mul)
    rows = iter(own)
    one = w.new_ones(mul)
    return torch.stack([next(rows) if ins.has_weight else one for ins in plan.instructions]).unsqueeze(0)


def reference(x: Tensor, w: Tensor, text: str) -> Tensor:
    """Return the product in plain torch: both inputs side by side, and w as `weights` returns it."""
    plan = read(text)
    weighted = [n for n, ins in enumerate(plan.instructions) if ins.has_weight]
    return product(x[:, : plan.dims[0]], x[:, plan.dims[0] :], w[0, weighted].flatten(), plan)


def compile_text(text: str) -> polynomials.Compiled:
    """Compile a plan: a group for each component of in1 and of the output, with a leaf for each of in2."""
    plan = read(text)
    irreps = (plan.irreps_in1, plan.irreps_in2, plan.irreps_out)
    places = [np.cumsum([0, *(ir.dim for _, ir in own)]) for own in irreps]
    dim1 = int(places[0][-1])
    found: dict[tuple[polynomials.Factors, int], _Leaves] = defaultdict(lambda: defaultdict(list))
    for n, ins in enumerate(plan.instructions):
        c = ins.path_weight * wigner.wigner_3j(*plan.degrees(ins))
        a, b, k = (int(place[i]) for place, i in zip(places, ins[:3], strict=True))
        for i, j, m in np.argwhere(c).tolist():
            found[(a + i,), k + m][(dim1 + b + j,)].append((n, c[i, j, m]))
    irreps_in = plan.irreps_in1 + plan.irreps_in2
    return polynomials.pack(irreps_in, plan.irreps_out, (1, len(plan.instructions)), found)
