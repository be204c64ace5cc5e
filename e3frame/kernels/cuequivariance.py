"""Products and convolutions by NVIDIA's cuequivariance-torch: CUDA kernels for the same plans.

Our plan becomes its ``SegmentedTensorProduct`` path by path, with our own coefficients, so that conventions, weights
and normalization cannot differ. Its layout has the copies of an irrep last, so features are transposed on the way.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.algebra import wigner
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.plan import ProductPlan
from e3frame.kernels.backends import Backend, register
from e3frame.kernels.values import has_tangents


@cache
def installed() -> bool:
    """Whether cuequivariance-torch and its CUDA kernels are installed."""
    return find_spec("cuequivariance_torch") is not None and find_spec("cuequivariance_ops_torch") is not None


_SUBSCRIPTS = {
    "uvw": "uvw,iu,jv,kw",
    "uvu": "uv,iu,jv,ku",
    "uvv": "uv,iu,jv,kv",
    "uuw": "uw,iu,ju,kw",
    "uuu": "u,iu,ju,ku",
}


def runs(plan: ProductPlan) -> bool:
    """Whether cuEquivariance can run the plan: paths of one connection mode, all with weights or all without."""
    kinds = {(ins.connection_mode, ins.has_weight) for ins in plan.instructions}
    empty = any(0 in ins.path_shape for ins in plan.instructions)
    return len(kinds) == 1 and next(iter(kinds))[0] in _SUBSCRIPTS and not empty


def _of_one_vector(plan: ProductPlan) -> bool:
    """Whether all copies make one axis, the same throughout, which the faster of its CUDA kernels want."""
    one = all(ins.connection_mode == "uvu" and ins.path_shape[1] == 1 for ins in plan.instructions)
    return one and len({mul for mul, _ in plan.irreps_in1}) == 1


@lru_cache(maxsize=64)
def _module(plan: ProductPlan, method: str | None) -> Any:
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    mode, weighted = plan.instructions[0].connection_mode, plan.instructions[0].has_weight
    subscripts, single = _SUBSCRIPTS[mode], _of_one_vector(plan)
    if single:
        subscripts = "u,iu,j,ku"
    if not weighted:
        subscripts = subscripts.partition(",")[2]
    product = cue.SegmentedTensorProduct.from_subscripts(f"{subscripts}+ijk")
    first = 1 if weighted else 0
    for operand, irreps in enumerate((plan.irreps_in1, plan.irreps_in2, plan.irreps_out), first):
        for mul, ir in irreps:
            scalar = single and operand == first + 1
            product.add_segment(operand, (ir.dim,) if scalar else (ir.dim, mul))
    for ins in plan.instructions:
        c = ins.path_weight * wigner.wigner_3j(*plan.degrees(ins))
        places = (ins.i_in1, ins.i_in2, ins.i_out)
        product.add_path(*((None, *places) if weighted else places), c=c)
    if single:
        product = product.flatten_coefficient_modes()
    method = method or ("uniform_1d" if single else "fused_tp")
    return cuet.SegmentedPolynomial(cue.SegmentedPolynomial.eval_last_operand(product), method=method)


@lru_cache(maxsize=64)
def _order(irreps: Irreps) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The place, with copies first, of each component with copies last; and the inverse."""
    places = [
        np.arange(where.start, where.stop).reshape(m.mul, m.ir.dim).T.ravel()
        for where, m in zip(irreps.slices(), irreps, strict=True)
    ]
    order = np.concatenate(places) if places else np.arange(0)
    return order, np.argsort(order)


def _places(irreps: Irreps, x: Tensor) -> tuple[Tensor, Tensor]:
    order, inverse = _order(irreps)
    return torch.from_numpy(order).to(x.device), torch.from_numpy(inverse).to(x.device)


def product(x: Tensor, y: Tensor, w: Tensor, plan: ProductPlan, method: str | None = None) -> Tensor:
    """The planned product of rows; see `e3frame.kernels.product`.

    Args:
        method: of ``cuequivariance_torch.SegmentedPolynomial``, by default one of its CUDA kernels; ``naive`` runs on
            the CPU as well.
    """
    inputs = [x.index_select(1, _places(plan.irreps_in1, x)[0]), y.index_select(1, _places(plan.irreps_in2, x)[0])]
    (out,) = _module(plan, method)([*([w.view(-1, plan.weight_numel)] if plan.weight_numel else []), *inputs])
    return out.index_select(1, _places(plan.irreps_out, x)[1])


def convolution(
    x: Tensor,
    edge_index: Tensor,
    y: Tensor,
    w: Tensor,
    num_nodes: int,
    rows: Tensor | None,
    plan: ProductPlan,
    method: str | None = None,
) -> Tensor:
    """``out_i = Σ_{e: j -> i} Σ_paths w_e x_j ⊗ y_e``; see `e3frame.kernels.convolution`, and `product`."""
    if rows is not None and w.ndim == 2:
        w = w.index_select(0, rows)
    inputs = [x.index_select(1, _places(plan.irreps_in1, x)[0]), y.index_select(1, _places(plan.irreps_in2, x)[0])]
    weighted = plan.weight_numel > 0
    (out,) = _module(plan, method)(
        [*([w.view(-1, plan.weight_numel)] if weighted else []), *inputs],
        input_indices={int(weighted): edge_index[0]},
        output_indices={0: edge_index[1]},
        output_shapes={0: x.new_empty(num_nodes, 1)},
    )
    return out.index_select(1, _places(plan.irreps_out, x)[1])


def _takes(x: Tensor) -> bool:
    return x.is_cuda and not torch.compiler.is_compiling() and not has_tangents()


def _status() -> str:
    if installed():
        return "installed; runs on CUDA devices"
    return "not installed; for CUDA: pip install 'e3frame[cuda]'"


BACKEND = register(
    Backend(
        "cuequivariance",
        {
            "product": lambda x, *rest: product(x, *rest) if _takes(x) else NotImplemented,
            "convolution": lambda x, *rest: convolution(x, *rest) if _takes(x) else NotImplemented,
        },
        runs=lambda operator, plan: runs(plan),
        available=lambda: installed(),
        status=_status,
        priority=20,
    )
)
