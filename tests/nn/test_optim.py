"""Optimizers of matrices: what they are told about the weights, and identities of their steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from e3frame.nn import FullyConnectedNet, SelfConnection
from e3frame.nn.optim import SOAP, Muon, WithAdamW
from e3frame.nn.optim.muon import orthogonalized
from e3frame.nn.optim.stacks import MatrixOptimizer
from e3frame.nn.parameters import Place, matrices_of
from e3frame.o3 import IndexedLinear, Linear, TensorProduct

Make = Callable[[list[dict[str, Any]]], MatrixOptimizer]
OPTIMIZERS: dict[str, Make] = {
    "muon": lambda groups: Muon(groups, 0.1),
    # The longer side of a first gradient leaves some eigenvectors to chance; here it has no preconditioner.
    "soap": lambda groups: SOAP(groups, 0.1, every=3, largest=4),
}
SHAPES = [(4, 4), (3, 5), (5, 3), (2, 7)]


def whole(w: Tensor) -> list[Place]:
    return [(tuple(w.shape), w.stride(), 0)]


def group_of(*weights: nn.Parameter) -> list[dict[str, Any]]:
    return [{"params": list(weights), "matrices": [whole(w) for w in weights]}]


def steps(make: Make, weights: Sequence[Tensor], gradients: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The weights after a step for each of the gradients."""
    trained = [nn.Parameter(w.clone()) for w in weights]
    optimizer = make(group_of(*trained))
    for each in gradients:
        for w, gradient in zip(trained, each, strict=True):
            w.grad = gradient.clone()
        optimizer.step()
    return [w.detach() for w in trained]


def random_gradients(shapes: Sequence[tuple[int, int]], count: int, seed: int = 0) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes] for _ in range(count)]


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_turn_with_the_bases_of_both_sides(kind: str, shape: tuple[int, int]) -> None:
    """With gradients ``A G B`` of orthogonal A and B all steps are ``A U B``, unlike those of Adam."""
    gradients = random_gradients([shape], 9)
    a, b = (torch.linalg.qr(random_gradients([(n, n)], 1, seed=n)[0][0]).Q for n in shape)
    make = OPTIMIZERS[kind]
    if kind == "soap":
        a, b = (q if len(q) <= 4 else torch.eye(len(q)).double() for q in (a, b))
    start = torch.zeros(shape, dtype=torch.float64)
    (plain,) = steps(make, [start], gradients)
    (turned,) = steps(make, [start], [[a @ g @ b] for (g,) in gradients])
    assert plain.abs().max() > 0.05
    torch.testing.assert_close(turned, a @ plain @ b, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_matrices_of_a_stack_do_not_mix(kind: str) -> None:
    shapes = [*SHAPES, (4, 4), (5, 3)]
    weights, gradients = random_gradients(shapes, 1, seed=1)[0], random_gradients(shapes, 5)
    together = steps(OPTIMIZERS[kind], weights, gradients)
    for n, weight in enumerate(weights):
        (alone,) = steps(OPTIMIZERS[kind], [weight], [[each[n]] for each in gradients])
        torch.testing.assert_close(together[n], alone, atol=1e-12, rtol=0)


def test_orthogonalized() -> None:
    x = random_gradients([(6, 9)], 1)[0][0]
    u, s, v = torch.linalg.svd(torch.stack([x, 1e-3 * x, torch.zeros_like(x)]), full_matrices=False)
    out = orthogonalized(u * s.unsqueeze(-2) @ v, 5)
    singular = u.mT @ out @ v.mT
    torch.testing.assert_close(singular, torch.diag_embed(singular.diagonal(dim1=-2, dim2=-1)), atol=1e-10, rtol=0)
    values = singular.diagonal(dim1=-2, dim2=-1)[:2]
    assert values.min() > 0.5
    assert values.max() < 1.25
    assert out[2].abs().max() == 0


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float64, 1e-10), (torch.float32, 1e-2)])
def test_orthogonalized_by_the_plain_iteration(dtype: torch.dtype, accuracy: float) -> None:
    x = random_gradients([(8, 40)], 1)[0][0]
    x[0] *= 1e-4  # a singular value of which little is left in float32
    expected = x / x.norm()
    for _ in range(5):
        s = expected @ expected.mT
        expected = 3.4445 * expected + (-4.7750 * s + 2.0315 * s @ s) @ expected
    found = orthogonalized(x.to(dtype).unsqueeze(0), 5)[0]
    torch.testing.assert_close(found.double(), expected, atol=accuracy, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_muon_is_that_of_torch(shape: tuple[int, int]) -> None:
    """torch computes in bfloat16, of three digits."""
    weights, gradients = random_gradients([shape], 1, seed=3)[0], random_gradients([shape], 4)
    (ours,) = steps(lambda groups: Muon(groups, 0.1, 0.9, weight_decay=0.5), weights, gradients)
    theirs = nn.Parameter(weights[0].clone())
    optimizer = torch.optim.Muon([theirs], 0.1, weight_decay=0.5, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for (gradient,) in gradients:
        theirs.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(ours, theirs.detach(), atol=5e-3, rtol=0)


def test_soap_without_preconditioners_is_adam() -> None:
    weights, gradients = random_gradients([(4, 6)], 1, seed=3)[0], random_gradients([(4, 6)], 6)
    (ours,) = steps(lambda groups: SOAP(groups, 0.1, (0.8, 0.9), eps=1e-3, largest=3), weights, gradients)
    theirs = nn.Parameter(weights[0].clone())
    optimizer = torch.optim.Adam([theirs], 0.1, (0.8, 0.9), eps=1e-3)
    for (gradient,) in gradients[1:]:  # the first fills the preconditioners
        theirs.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-12, rtol=0)


def test_soap_is_adam_in_the_eigenbasis() -> None:
    """Gradients that are diagonal in two fixed bases: there each entry takes the steps of Adam."""
    u, v = (torch.linalg.qr(random_gradients([(4, 4)], 1, seed=s)[0][0]).Q for s in (1, 2))
    scales = torch.tensor([30.0, 10.0, 3.0, 1.0], dtype=torch.float64)
    signs = [torch.sign(torch.randn(4, generator=torch.Generator().manual_seed(s)).double()) for s in range(8)]
    gradients = [[u @ torch.diag(scales * sign) @ v.mT] for sign in signs]
    start = torch.zeros(4, 4, dtype=torch.float64)
    (moved,) = steps(lambda groups: SOAP(groups, 0.1, (0.8, 0.9), eps=1e-4, every=2), [start], gradients)
    entries, square, mean = torch.zeros(4).double(), 0.0, torch.zeros(4).double()
    for step, sign in enumerate(signs[1:], 1):
        mean, square = 0.8 * mean + 0.2 * sign, 0.9 * square + 0.1
        size = scales * (square / (1 - 0.9**step)) ** 0.5
        entries -= 0.1 * scales * (mean / (1 - 0.8**step)) / (size + 1e-4)
    torch.testing.assert_close(u.mT @ moved @ v, torch.diag(entries), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_decay_rates_and_closures(kind: str) -> None:
    one, two = (nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    groups = [group_of(one)[0] | {"lr": 0.0}, group_of(two)[0] | {"weight_decay": 0.5}]
    optimizer = OPTIMIZERS[kind](groups)

    def closure() -> Tensor:
        loss = 0.0 * (one.sum() + two.sum())
        loss.backward()
        return loss + 7

    assert optimizer.step(closure) == 7
    torch.testing.assert_close((one.detach(), two.detach()), (torch.ones(3, 3), torch.full((3, 3), 0.95)))


def test_a_parameter_without_a_gradient_stays() -> None:
    used, unused = (nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    for make in OPTIMIZERS.values():
        optimizer = make(group_of(used, unused))
        for _ in range(3):
            used.grad = torch.eye(3)
            optimizer.step()
        assert unused.eq(1).all()
    assert used.ne(1).any()


def test_both_parts_go_on_from_their_state() -> None:
    def made(weights: list[nn.Parameter]) -> WithAdamW:
        soap = SOAP(group_of(weights[0]), 0.1)
        return WithAdamW(soap, [{"params": weights[1:]}], 0.1, (0.9, 0.9), 1e-8, 0.0)

    gradients = random_gradients([(3, 4), (2, 1)], 8)
    weights = [nn.Parameter(torch.zeros_like(g)) for g in gradients[0]]
    optimizer = made(weights)
    for n, each in enumerate(gradients):
        if n == 4:
            state = optimizer.state_dict()
            optimizer = made(weights)
            optimizer.load_state_dict(state)
        for w, gradient in zip(weights, each, strict=True):
            w.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(
        [weights[0].detach()], steps(lambda g: SOAP(g, 0.1), [torch.zeros(3, 4).double()], [g[:1] for g in gradients])
    )


def entries(module: nn.Module, name: str = "weight") -> list[Tensor]:
    """The matrices of a parameter, as views (count, rows, columns)."""
    parameter = module.get_parameter(name).data
    places = matrices_of(module, name)
    assert sum(torch.Size(size).numel() for size, _, _ in places) == parameter.numel() > 0
    views = [parameter.as_strided(size, stride, offset) for size, stride, offset in places]
    return [view.reshape(-1, *view.shape[-2:]) if view.ndim != 3 else view for view in views]


def test_matrices_of_linear_maps_map_copies_to_copies() -> None:
    """A matrix of ones at (u, w) alone maps the copy u of an irrep to the copy w."""
    linear = Linear("3x0e+2x1o", "2x0e+4x1o")
    assert [view.shape[-2:] for view in entries(linear)] == [(3, 2), (2, 4)]
    for u, w in itertools.product(range(2), range(4)):
        linear.weight.data.zero_()
        entries(linear)[1].view(2, 4)[u, w] = 1.0
        x = torch.arange(1.0, 10)
        out = linear(x)[2:].view(4, 3)
        torch.testing.assert_close(out[w], x[3:].view(2, 3)[u] * 2**-0.5)
        assert out.count_nonzero() == 3


def test_matrices_of_each_species() -> None:
    linear = IndexedLinear("3x0e+2x1o", "2x0e+4x1o", 5)
    assert [view.shape for view in entries(linear)] == [(5, 3, 2), (5, 2, 4)]
    linear.weight.data.zero_()
    entries(linear)[1][4, 1, 3] = 1.0
    out = linear(torch.ones(5, 9), torch.arange(5))
    assert out.nonzero().tolist() == [[4, 11], [4, 12], [4, 13]]


def test_matrices_of_products() -> None:
    connection = SelfConnection("3x0e+2x1o", "4x0e", "2x0e+4x1o")
    assert [view.shape[-2:] for view in entries(connection)] == [(12, 2), (8, 4)]
    paths = [(0, 0, 0, "uvw", True), (1, 1, 0, "uuw", True), (1, 1, 0, "u<vw", True)]
    product = TensorProduct("3x0e+4x1o", "2x0e+4x1o", "5x0e", paths)
    assert [view.shape[-2:] for view in entries(product)] == [(6, 5), (4, 5), (6, 5)]
    scaled = TensorProduct("3x0e+2x1o", "2x0e+2x1o", "3x0e", [(0, 0, 0, "uvu", True)])
    assert matrices_of(scaled, "weight") == ()
    mlp = FullyConnectedNet([2, 3, 4, 1], torch.relu)
    assert [len(matrices_of(layer, "weight")) for layer in mlp] == [1, 1, 0]


class Views(nn.Module):
    """A plugin's module."""

    def __init__(self, views: Callable[[Tensor], Sequence[Tensor]]) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.arange(12.0))
        self.views = views

    def weight_matrices(self) -> Mapping[str, Sequence[Tensor]]:
        return {"gain": self.views(self.gain)}


def test_what_a_module_may_declare() -> None:
    assert matrices_of(Views(lambda w: [w.view(3, 4)]), "gain") == (((3, 4), (4, 1), 0),)
    assert matrices_of(Views(lambda w: [w[:8].view(2, 4), w[8:].view(2, 2).mT]), "gain")[1] == ((2, 2), (1, 2), 8)
    assert matrices_of(Views(lambda w: [w[:8].view(2, 4)]), "gain") == ()  # the rest is no matrix
    assert matrices_of(Views(lambda w: [w.view(12, 1)]), "gain") == ()  # a vector
    assert matrices_of(nn.Linear(2, 2), "weight") == ()
    with pytest.raises(ValueError, match=r"^weight_matrices of Views must give views on 'gain', not copies$"):
        matrices_of(Views(lambda w: [w.view(3, 4) * 2]), "gain")
