"""Modules of e3frame and of e3nn with the same numbers on the same inputs, for ``bench.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import e3nn.nn
import e3nn.o3
import torch
from torch import Tensor, nn

import e3frame.nn
import e3frame.o3

HIDDEN, SH = "32x0e + 32x1o + 32x2e", "1x0e + 1x1o + 1x2e"
#: The class in o3, its arguments, the irreps of its inputs, and their rows.
CASES: tuple[tuple[str, tuple, tuple[str, ...], int], ...] = (
    ("Linear", (HIDDEN, HIDDEN), (HIDDEN,), 600),
    ("SphericalHarmonics", ("0e + 1o + 2e + 3o", True), ("1x1o",), 9000),
    ("FullyConnectedTensorProduct", (HIDDEN, SH, HIDDEN), (HIDDEN, SH), 600),
    ("FullyConnectedTensorProduct", (HIDDEN, "32x0e", HIDDEN), (HIDDEN, "32x0e"), 600),
    ("ElementwiseTensorProduct", (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), 600),
    ("FullTensorProduct", ("16x0e + 16x1o", SH), ("16x0e + 16x1o", SH), 600),
    ("TensorSquare", ("16x0e + 16x1o", "32x0e + 32x2e"), ("16x0e + 16x1o",), 600),
)
GATE = ("32x0e", [torch.nn.functional.silu], "64x0e", [torch.sigmoid], "32x1o + 32x2e")


def modules() -> Iterator[tuple[str, nn.Module, nn.Module, tuple[Tensor, ...]]]:
    """What is run, the two modules with equal weights, and the inputs."""
    for name, arguments, irreps, rows in CASES:
        own, peer = getattr(e3frame.o3, name)(*arguments), getattr(e3nn.o3, name)(*arguments)
        if list(own.parameters()):
            peer.load_state_dict(e3frame.o3.state_dict_for_e3nn(own, peer))
        label = f"{name}, {' by '.join(irreps)}, {rows} rows"
        yield label, own, peer, tuple(torch.randn(rows, e3nn.o3.Irreps(one).dim) for one in irreps)
    own, peer = e3frame.nn.Gate(GATE[0], ["silu"], GATE[2], ["sigmoid"], GATE[4]), e3nn.nn.Gate(*GATE)
    yield f"Gate, {own.irreps_in}, 600 rows", own, peer, (torch.randn(600, own.irreps_in.dim),)


def runs() -> Iterator[tuple[str, str, dict[str, Callable[[], object]]]]:
    """What is run, the pass, and the sides, whose values are compared first."""
    for label, own, peer, inputs in modules():
        torch.testing.assert_close(own(*inputs), peer(*inputs), atol=1e-4, rtol=1e-4)
        inputs = tuple(t.requires_grad_() for t in inputs)
        for what, make in (("forward", _forward), ("forward + backward", _backward), ("double backward", _twice)):
            yield label, what, {"e3frame": make(own, inputs), "e3nn 0.6": make(peer, inputs)}


def _forward(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return module(*inputs)

    return run


def _backward(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    wanted, cotangent = (*inputs, *module.parameters()), torch.randn_like(module(*inputs))
    return lambda: torch.autograd.grad(module(*inputs), wanted, cotangent)


def _twice(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    wanted = (*inputs, *module.parameters())
    cotangent = torch.randn_like(module(*inputs)).requires_grad_()

    def run() -> object:
        first = torch.autograd.grad(module(*inputs), inputs, cotangent, create_graph=True)
        total = sum(g.square().sum() for g in first)
        return torch.autograd.grad(total, (*wanted, cotangent), allow_unused=True)

    return run
