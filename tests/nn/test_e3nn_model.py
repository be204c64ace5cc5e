"""A point-cloud network written for e3nn runs on e3frame by its imports alone, with the same weights and results."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import e3nn.math
import e3nn.nn
import e3nn.o3
import pytest
import torch
from torch import Tensor

import e3frame.math
import e3frame.nn
import e3frame.o3

E3NN = SimpleNamespace(o3=e3nn.o3, nn=e3nn.nn, math=e3nn.math)
E3FRAME = SimpleNamespace(o3=e3frame.o3, nn=e3frame.nn, math=e3frame.math)

HIDDEN = ("16x0e + 8x0o", "8x1o + 4x1e + 4x2e")


class Convolution(torch.nn.Module):
    """Messages along edges: tensor product with harmonics, its weights from the length; then a gate."""

    def __init__(self, lib: SimpleNamespace, irreps_in: str, irreps_sh, number_of_basis: int) -> None:
        super().__init__()
        o3, nn = lib.o3, lib.nn
        scalars, gated = map(o3.Irreps, HIDDEN)
        acts = [torch.nn.functional.silu if ir.p == 1 else torch.tanh for _, ir in scalars]
        self.gate = nn.Gate(scalars, acts, f"{gated.num_irreps}x0e", [torch.sigmoid], gated)
        self.linear = o3.Linear(irreps_in, irreps_in)
        self.tp = o3.FullyConnectedTensorProduct(irreps_in, irreps_sh, self.gate.irreps_in, shared_weights=False)
        self.skip = o3.FullyConnectedTensorProduct(irreps_in, "1x0e", self.gate.irreps_in)
        self.fc = nn.FullyConnectedNet([number_of_basis, 16, self.tp.weight_numel], torch.nn.functional.silu)
        self.norm = nn.BatchNorm(self.gate.irreps_out)

    def forward(self, x: Tensor, edges: Tensor, harmonics: Tensor, lengths: Tensor) -> Tensor:
        source, target = edges
        messages = self.tp(self.linear(x)[source], harmonics, self.fc(lengths))
        summed = x.new_zeros(len(x), messages.shape[1]).index_add(0, target, messages).div(3.0)
        return self.norm(self.gate(summed + self.skip(x, x.new_ones(len(x), 1))))


class Network(torch.nn.Module):
    """Invariant energy and equivariant dipoles of a cloud of points."""

    def __init__(self, lib: SimpleNamespace, depth: int = 3) -> None:
        super().__init__()
        self.harmonics, self.basis = lib.o3.spherical_harmonics, lib.math.soft_one_hot_linspace
        self.irreps_sh = lib.o3.Irreps.spherical_harmonics(2)
        hidden = "+".join(HIDDEN)
        self.layers = torch.nn.ModuleList(
            [Convolution(lib, irreps, self.irreps_sh, 6) for irreps in ("3x0e", hidden, hidden)[:depth]]
        )
        self.square = lib.o3.TensorSquare(hidden, "8x0e + 2x1o")
        self.norm = lib.o3.Norm(self.square.irreps_out)
        self.act = lib.nn.NormActivation(lib.o3.Irreps("8x0e + 2x1o"), torch.sigmoid, bias=True)
        self.head = lib.o3.Linear("8x0e + 2x1o", "1x0e + 1x1o", biases=True)

    def forward(self, pos: Tensor, x: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        vectors = pos[edges[0]] - pos[edges[1]]
        harmonics = self.harmonics(self.irreps_sh, vectors, True, normalization="component")
        lengths = self.basis(vectors.norm(dim=1), 0.0, 3.0, 6, basis="smooth_finite", cutoff=True).mul(6**0.5)
        for layer in self.layers:
            x = layer(x, edges, harmonics, lengths)
        x = self.square(x)
        return self.head(self.act(x)), self.norm(x)


def cloud(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    pos = 1.5 * torch.randn(12, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    distance = torch.cdist(pos, pos)
    edges = torch.nonzero((distance < 3.0) & (distance > 0)).T
    return pos.to(dtype).requires_grad_(), x.to(dtype), edges


def both(dtype: torch.dtype) -> tuple[Network, Network]:
    """The network on both libraries, with the weights of one."""
    theirs = Network(E3NN)
    ours = Network(E3FRAME)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [(n, p.shape) for n, p in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict())
    return ours.to(dtype), theirs.to(dtype)


def results(network: Network, dtype: torch.dtype) -> list[Tensor]:
    """The outputs, and the forces of their sum, in float64."""
    pos, x, edges = cloud(dtype)
    outputs = network.to(dtype)(pos, x, edges)
    (forces,) = torch.autograd.grad(sum(out.sum() for out in outputs), pos)
    return [out.detach().double() for out in (*outputs, forces)]


@pytest.mark.parametrize("training", [True, False])
def test_the_same_results(training: bool):
    ours, theirs = (network.train(training) for network in both(torch.float64))
    exact = results(theirs, torch.float64)
    for found, expected in zip(results(ours, torch.float64), exact, strict=True):
        scale = expected.abs().max().item()
        assert scale > 1e-3
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * max(scale, 1.0))
    # Built in float64 all the same: e3nn rounds its constants to the default dtype.
    single = zip(results(ours, torch.float32), results(theirs, torch.float32), exact, strict=True)
    for found, others, expected in single:
        error = (found - expected).abs().max()
        assert error <= 2 * (others - expected).abs().max()
        assert error < 2e-5 * expected.abs().max().clamp(min=1.0)


def test_it_is_equivariant():
    ours, _ = both(torch.float64)
    ours.eval()
    pos, x, edges = cloud(torch.float64)
    R = e3frame.o3.angles_to_matrix(*map(torch.tensor, (0.3, 1.1, -0.7)))
    for motion in (R, -R):
        (before, norms), (after, same) = ours(pos, x, edges), ours(pos @ motion.T, x, edges)
        D = ours.head.irreps_out.D_from_matrix(motion)
        torch.testing.assert_close(after, before @ D.T, rtol=0, atol=1e-10)
        torch.testing.assert_close(same, norms, rtol=0, atol=1e-10)


def test_it_copies_and_compiles():
    original = Network(E3FRAME, depth=1)
    ours = copy.deepcopy(original).eval()
    ours.load_state_dict(original.state_dict())
    inputs = tuple(tensor.detach() for tensor in cloud(torch.float64))
    torch._dynamo.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), ours(*inputs))
