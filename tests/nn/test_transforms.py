"""Every block compiles to one graph, exports, and runs under the transforms of torch.func."""

from __future__ import annotations

import pytest
import torch

from e3frame import nn

IRREPS = "4x0e+2x0o+3x1o"
SPECIES = torch.tensor([0, 1, 2, 0, 1])
EDGES = torch.tensor([[1, 2, 3, 4, 0, 0, 2], [0, 0, 1, 1, 2, 3, 4]])

# What is elementwise on rows comes first: these are mapped too.
ROWS = {
    "activation": (lambda: nn.Activation(IRREPS, ["silu", "tanh", None]), 15),
    "gate": (lambda: nn.Gate("2x0e", ["silu"], "3x0e", ["sigmoid"], "3x1o"), 14),
    "norm_activation": (lambda: nn.NormActivation(IRREPS, "silu", bias=True), 15),
    "extract": (lambda: nn.Extract("4x0e+2x0o+3x1o", ["3x1o+4x0e"], [(2, 0)], squeeze_out=True), 15),
    "extract_ir": (lambda: nn.ExtractIr(IRREPS, "1o"), 15),
    "identity": (lambda: nn.Identity(IRREPS, IRREPS), 15),
    "s2_activation": (lambda: nn.S2Activation("0e+1o+2e", "tanh", 8), 9),
    "so3_activation": (lambda: nn.SO3Activation(1, 1, "tanh", 2), 10),
    "layer_norm": (lambda: nn.LayerNorm(IRREPS), 15),
    "mlp": (lambda: nn.FullyConnectedNet([15, 3, 2], "silu"), 15),
    "bessel": (lambda: nn.RadialBasis(nn.BesselBasis(5.0, 4), nn.PolynomialEnvelope(5.0)), 3),
    "gaussian": (lambda: nn.RadialBasis(nn.GaussianBasis(5.0, 4), nn.CosineEnvelope(5.0)), 3),
}
OTHERS = {
    "batch_norm": lambda: (nn.BatchNorm(IRREPS), torch.randn(5, 15)),
    "embedding": lambda: (nn.SpeciesEmbedding(3, "4x0e"), SPECIES),
    "species_index": lambda: (nn.SpeciesIndex([1, 6]), torch.tensor([6, 1])),
    "pool": lambda: (
        nn.Pool("sum", nn.PerSpeciesScaleShift([1.0, 2, 3], [0.0, 1, 2])),
        *(torch.randn(5, 1), SPECIES, torch.tensor([0, 0, 1, 1, 1]), 2),
    ),
    "self_connection": lambda: (nn.SelfConnection(IRREPS, "4x0e", IRREPS), torch.randn(5, 15), torch.randn(5, 4)),
    "convolution": lambda: (
        nn.Convolution(IRREPS, "0e+1o", IRREPS, 4, [8], 3, 2.0),
        *(torch.randn(5, 15), SPECIES, EDGES, torch.randn(7, 4), torch.randn(7, 4)),
    ),
}


def case(name: str) -> tuple:
    return OTHERS[name]() if name in OTHERS else (ROWS[name][0](), torch.randn(5, ROWS[name][1]))


@pytest.mark.parametrize("name", [*ROWS, *OTHERS])
def test_compiles_and_exports(name: str):
    module, *arguments = case(name)
    module.eval()
    expected = module(*arguments)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*arguments), expected)
    exported = torch.export.export(module, tuple(arguments)).module()
    torch.testing.assert_close(exported(*arguments), expected)


@pytest.mark.parametrize("name", ROWS)
def test_maps_and_differentiates_forward(name: str):
    module, x = case(name)
    torch.testing.assert_close(torch.func.vmap(module)(x), module(x))
    value, tangent = torch.func.jvp(module, (x,), (torch.ones_like(x),))
    step = 1e-6
    torch.testing.assert_close(value, module(x))
    torch.testing.assert_close(tangent, (module(x + step) - module(x - step)) / (2 * step), rtol=1e-5, atol=1e-7)
