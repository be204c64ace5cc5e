"""Every class of product, of random irreps: bilinear, equivariant, by the selection rules, of unit variance."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e3frame import kernels, o3
from e3frame.o3.experimental import ElementwiseTensorProductv2

IRREPS = st.lists(st.tuples(st.integers(1, 2), st.tuples(st.integers(0, 3), st.sampled_from([1, -1]))), max_size=3)
NORMALIZATION = st.fixed_dictionaries({"irrep_normalization": st.sampled_from(["component", "norm"])})
PATHS = st.fixed_dictionaries({"path_normalization": st.sampled_from(["element", "path"])})
SMALL = settings(
    max_examples=int(os.environ.get("E3FRAME_EXAMPLES", "12")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
Make = Callable[..., o3.TensorProduct]


def paired(irreps: list) -> list:
    """As many vectors as there are irreps."""
    return [(o3.Irreps(irreps).num_irreps, "1o")] if irreps else []


CLASSES: dict[str, Make] = {
    "explicit": lambda a, b, c, **o: o3.TensorProduct(
        a, b, [(m, "2e") for m, _ in a], [(i, j, i, "uvu", True) for i, j in allowed(a, b, "2e")], **o
    ),
    "fully connected": lambda a, b, c, **o: o3.FullyConnectedTensorProduct(a, b, c, **o),
    "full": lambda a, b, c, **o: o3.FullTensorProduct(a, b, **o),
    "elementwise": lambda a, b, c, **o: o3.ElementwiseTensorProduct(a, paired(a), **o),
    "square": lambda a, b, c, **o: o3.TensorSquare(a, **o),
    "weighted square": lambda a, b, c, **o: o3.TensorSquare(a, c, **o),
    "full v2": lambda a, b, c, irrep_normalization, **o: o3.FullTensorProductv2(
        a, b, irrep_normalization=irrep_normalization
    ),
    "elementwise v2": lambda a, b, c, irrep_normalization, **o: ElementwiseTensorProductv2(
        a, paired(a), irrep_normalization=irrep_normalization
    ),
}


def allowed(a: list, b: list, out: str) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i, (_, ir1) in enumerate(o3.Irreps(a))
        for j, (_, ir2) in enumerate(o3.Irreps(b))
        if o3.Irrep(out) in list(ir1 * ir2)
    ]


def bilinear(module: o3.TensorProduct, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The product of two inputs, which for squares may differ."""
    return kernels.product(x, y, module.weight, module.plan)


@pytest.mark.parametrize("name", CLASSES)
@SMALL
@given(a=IRREPS, b=IRREPS, c=IRREPS, irrep=NORMALIZATION, path=PATHS, seed=st.integers(0, 2**16))
def test_algebra(name: str, a: list, b: list, c: list, irrep: dict, path: dict, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    module = CLASSES[name](a, b, c, **irrep, **path)
    x1, x2 = torch.randn(2, module.irreps_in1.dim, generator=generator)
    y1, y2 = torch.randn(2, module.irreps_in2.dim, generator=generator)
    close = {"atol": 1e-12 * (1 + module.plan.num_paths), "rtol": 0}

    summed = bilinear(module, x1, y1) + 2 * bilinear(module, x2, y1)
    torch.testing.assert_close(bilinear(module, x1 + 2 * x2, y1), summed, **close)
    summed = bilinear(module, x1, y1) - 3 * bilinear(module, x1, y2)
    torch.testing.assert_close(bilinear(module, x1, y1 - 3 * y2), summed, **close)

    R = o3.rand_matrix(generator=generator)
    for motion in (R, -torch.eye(3), -R):
        D1, D2, D = (i.D_from_matrix(motion) for i in (module.irreps_in1, module.irreps_in2, module.irreps_out))
        torch.testing.assert_close(bilinear(module, D1 @ x1, D2 @ y1), D @ bilinear(module, x1, y1), **close)

    for ins in module.instructions:
        ir1, ir2 = module.irreps_in1[ins.i_in1].ir, module.irreps_in2[ins.i_in2].ir
        out = module.irreps_out[ins.i_out].ir
        assert abs(ir1.l - ir2.l) <= out.l <= ir1.l + ir2.l
        assert out.p == ir1.p * ir2.p


@pytest.mark.parametrize("name", CLASSES)
@SMALL
@given(a=IRREPS, b=IRREPS, c=IRREPS, path=PATHS)
def test_each_output_has_unit_variance(name: str, a: list, b: list, c: list, path: dict) -> None:
    """Exactly: the second moments of normal inputs and weights are sums over the elements of the bilinear forms."""
    module = CLASSES[name](a, b, c, irrep_normalization="component", **path)
    n1, n2 = module.irreps_in1.dim, module.irreps_in2.dim
    weights = torch.eye(module.weight_numel).unsqueeze(1).unsqueeze(1) if module.weight_numel else None
    forms = kernels.product(torch.eye(n1)[:, None], torch.eye(n2), weights, module.plan)
    forms = forms.unsqueeze(0) if weights is None else forms
    squares = forms.square().sum((0, 1, 2))
    if isinstance(module, o3.TensorSquare):
        # E[x_i x_j x_k x_l] joins also j with k, and i with j.
        squares = squares + torch.einsum("wijk,wjik->k", forms, forms)
        squares = squares + torch.einsum("wiik,wjjk->k", forms, forms)
    reached = module.output_mask.bool()
    for where in module.irreps_out.slices():
        if reached[where].any():
            assert squares[where].mean().item() == pytest.approx(1, abs=1e-10)
    assert not squares[~reached].any()
