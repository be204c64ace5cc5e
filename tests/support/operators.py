"""Arguments for every native operator."""

from __future__ import annotations

import gc

import torch
from support.native import PLANS, graph, needs_native
from torch import Tensor

from e3frame import nn, o3
from e3frame.algebra.symmetric_product import plan_symmetric_product
from e3frame.kernels.native import harmonics, plans, pointwise, radial, symmetric_product
from e3frame.kernels.native.linear import write_linear
from e3frame.kernels.native.operators import Operator
from e3frame.kernels.native.pointwise import write_act

GATE = nn.Gate("3x0e", ["silu"], "5x0e", ["sigmoid"], "5x1o")
HARMONICS = o3.SphericalHarmonics([2, 0], True)
RADIAL = nn.RadialBasis(nn.BesselBasis(3.0, 4), nn.CosineEnvelope(3.0))


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


def unary(name: str, text: str, n: int, m: int) -> list[tuple[str, tuple]]:
    x, a = (torch.randn(n, 6, dtype=torch.float64).T.requires_grad_() for _ in range(2))  # not contiguous
    o = random(6, m)
    return [(name, (x, text)), (f"{name}_backward", (x, o, text)), (f"{name}_twice", (x, o, a, text))]


def powers() -> dict[str, tuple]:
    plan = plan_symmetric_product("2x0e + 2x1o", "2x0e + 4x1o", 3, rows=3)
    x, ax, o = random(4, 8), random(4, 8), random(4, 14)
    w, aw, index = random(*plan.weight_shape), random(*plan.weight_shape), torch.tensor([0, 2, 2, 0])
    text = symmetric_product.text_of(plan)
    return {
        "symmetric_product": (x, w, index, text),
        "symmetric_product_backward": (x, w, index, o, text, 3),
        "symmetric_product_twice": (x, w, index, o, ax, aw, text, 7),
    }


def samples() -> dict[str, tuple]:
    """Arguments for every operator."""
    plan = PLANS["several_into_one"]
    x, edge_index, y, w = (t.requires_grad_() if t.is_floating_point() else t for t in graph(plan))
    o, ax, ay, aw = random(5, plan.irreps_out.dim), *(random(*t.shape) for t in (x, y, w))
    text, rows = plans.encode(plan), torch.arange(len(y)) // 2
    line = write_linear(
        o3.Irreps("2x0e + 1x1o"), o3.Irreps("3x0e + 2x1o"), 3, [(0, 0, 0, 8, 3, 0.5), (1, 1, 6, 8, 2, 2.0)]
    )
    index = torch.tensor([0, 2, 2, 0])
    return {
        "convolution": (x, edge_index, y, w, rows, text, 5),
        "convolution_backward": (x, edge_index, y, w, rows, o, text, 7),
        "convolution_twice": (x, edge_index, y, w, rows, o, ax, ay, aw, text, 15),
        "linear": (random(4, 5), random(24), index, line, False),
        "linear_weights": (random(4, 5), random(4, 9), index, line, 24),
        "differences": (random(5, 3), torch.tensor([[0, 4, 4, 2], [1, 0, 4, 1]]), random(4, 3)),
        "differences_transposed": (random(4, 3), torch.tensor([[0, 4, 4, 2], [1, 0, 4, 1]]), 5),
        **powers(),
        **dict(unary("activate", write_act("silu", 1.5, 0.5), 4, 4)),
        **dict(unary("gate", pointwise.gate_text_of(GATE._activated), GATE.irreps_in.dim, GATE.irreps_out.dim)),
        **dict(unary("harmonics", harmonics.text_of(HARMONICS._plan), 3, 6)),
        **dict(unary("radial", radial.text_of(RADIAL._plan), 3, 4)),
    }


SAMPLES = samples() if needs_native.args[0] is False else {}

OPERATORS: dict[str, Operator] = {item.name: item for item in gc.get_objects() if type(item) is Operator}
"""All native operators by name, those that a module keeps to itself too."""
