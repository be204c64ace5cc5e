"""The convolution of e3frame and of its peers on one graph, for ``bench.py``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from e3frame import kernels
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.paths import plan_convolution


def random_graph(nodes: int, edges: int, local: bool = False) -> tuple[Tensor, int]:
    """Edges sorted by target, and the number of nodes. Local: sources lie near their targets, as in a batch."""
    target = torch.arange(edges) * nodes // edges
    source = (target + torch.randint(-15, 16, (edges,))) % nodes if local else torch.randint(nodes, (edges,))
    return torch.stack([source, target]), nodes


class Side:
    """One implementation: ``call`` of x, y and w."""

    def __init__(self, case: Convolution) -> None:
        self.case = case

    def call(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self) -> Tensor:
        with torch.no_grad():
            return self.call(*self.case.inputs)

    def forward_backward(self) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.call(*self.case.inputs), self.case.inputs, self.case.o)

    def double_backward(self) -> tuple[Tensor, ...]:
        """What a loss on forces asks for: gradients of the gradients, and what comes before."""
        case = self.case
        gradients = torch.autograd.grad(self.call(*case.inputs), case.inputs, case.o, create_graph=True)
        return torch.autograd.grad(gradients, (*case.inputs, case.o), case.cotangents)


class Convolution(Side):
    """e3frame: mul copies of 0e, 1o, ... up to lmax by harmonics up to lmax, with weights for each edge and channel."""

    def __init__(self, mul: int, lmax: int, edge_index: Tensor, nodes: int) -> None:
        super().__init__(self)
        self.irreps = Irreps([(mul, ir) for _, ir in Irreps.spherical_harmonics(lmax)])
        self.irreps_sh = Irreps.spherical_harmonics(lmax)
        self.plan = plan_convolution(self.irreps, self.irreps_sh, self.irreps)
        self.edge_index, self.nodes, edges = edge_index, nodes, edge_index.shape[1]
        sizes = ((nodes, self.irreps.dim), (edges, self.irreps_sh.dim), (edges, self.plan.weight_numel))
        self.inputs = tuple(torch.randn(size, requires_grad=True) for size in sizes)
        self.o = torch.randn(nodes, self.plan.irreps_out.dim, requires_grad=True)
        self.cotangents = tuple(torch.randn_like(tensor) for tensor in self.inputs)

    def call(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return kernels.convolution(x, self.edge_index, y, w, self.plan, self.nodes)


class E3nn(Side):
    """Gather, ``o3.TensorProduct`` of e3nn in its default mode, scatter."""

    def __init__(self, case: Convolution) -> None:
        super().__init__(case)
        from e3nn import o3

        plan = case.plan
        paths = [(p.i_in1, p.i_in2, p.i_out, "uvu", True) for p in plan.instructions]
        irreps = [o3.Irreps(str(part)) for part in (plan.irreps_in1, plan.irreps_in2, plan.irreps_out)]
        self.product: Any = o3.TensorProduct(*irreps, paths, shared_weights=False, internal_weights=False)

    def call(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        source, target = self.case.edge_index
        messages = self.product(x[source], y, w)
        return x.new_zeros(self.case.nodes, messages.shape[1]).index_add(0, target, messages)


class Compiled(E3nn):
    """The same under torch.compile, which has no double backward."""

    def __init__(self, case: Convolution) -> None:
        import e3nn

        before = e3nn.get_optimization_defaults()["jit_mode"]
        e3nn.set_optimization_defaults(jit_mode="inductor")
        try:
            super().__init__(case)
        finally:
            e3nn.set_optimization_defaults(jit_mode=before)
        self.compiled = torch.compile(super().call, fullgraph=True)

    def call(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return self.compiled(x, y, w)

    double_backward = None  # type: ignore[assignment]


class Cuequivariance(Side):
    """``ChannelWiseTensorProduct`` of cuequivariance on the CPU."""

    def __init__(self, case: Convolution) -> None:
        super().__init__(case)
        import cuequivariance as cue
        import cuequivariance_torch as cuet

        irreps = [cue.Irreps("O3", str(part)) for part in (case.irreps, case.irreps_sh)]
        self.product = cuet.ChannelWiseTensorProduct(
            *irreps,
            [ir for _, ir in irreps[0]],
            layout=cue.mul_ir,
            shared_weights=False,
            internal_weights=False,
            method="naive",
        )
        self.numel = self.product.weight_numel

    def call(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        source, target = self.case.edge_index
        messages = self.product(x[source], y, w)
        return x.new_zeros(self.case.nodes, messages.shape[1]).index_add(0, target, messages)


def peers(case: Convolution) -> dict[str, Side]:
    """All sides that are installed; those of e3nn's default mode give the same numbers as e3frame, which is checked."""
    sides: dict[str, Side] = {"e3frame": case}
    if find_spec("e3nn"):
        sides["e3nn 0.6"] = E3nn(case)
        torch.testing.assert_close(sides["e3nn 0.6"].forward(), case.forward(), atol=1e-3, rtol=1e-3)
        sides["e3nn, compiled"] = Compiled(case)
    if find_spec("cuequivariance_torch"):
        sides["cuequivariance"] = Cuequivariance(case)
    return sides
