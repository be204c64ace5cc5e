"""``message``: products of the features of neighbours with those of edges, summed over the edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.paths import ProductPlan, plan_channelwise, reachable
from e3frame.layers._paths import Path, plan_listed
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import (
    EDGE_INDEX,
    EDGE_PAIRS,
    Binding,
    LayerSpec,
    Scope,
    Signature,
    TensorType,
    auto,
    require_few_paths,
)
from e3frame.spec.limits import TERMS
from e3frame.spec.reach import require_scalars, require_within

if TYPE_CHECKING:
    from torch import nn


class Message(LayerSpec):
    """``out_i = Σ_{j -> i} w_ij (x_j ⊗ y_ij) / √avg_num_neighbors``, channel by channel, with weights from a field.

    The product inside a ``convolution``, without its linear maps. Equal to ``nodes_to_edges``, ``tensor_product`` and
    ``edges_to_nodes``, but faster: nothing is stored per edge.
    """

    kind: Literal["message"] = "message"
    of: str | None = None
    """Field per node to send; default: the latest."""
    edge_sh: str = "edge_sh"
    """Field per edge with the spherical harmonics y, each of multiplicity 1."""
    weights: str
    """Field per edge of even scalars used as weights w, such as an ``mlp`` of radial functions."""
    keep: IrrepsField | None = None
    """Irreps to keep of all products, such as 0e + 1o; default: all. The result has one term for each path."""
    irreps_out: IrrepsField | None = None
    """With ``paths``: irreps of the result."""
    paths: Annotated[tuple[Path, ...], Field(min_length=1, max_length=TERMS)] | None = None
    """The products to take, such as ``[{in1: 0, in2: 1, out: 0}]``; default: all that lead to ``keep``."""
    avg_num_neighbors: auto(float, lambda statistics: statistics.avg_num_neighbors) = Field("auto", gt=0)  # type: ignore[valid-type]
    """Mean number of edges per atom. ``auto``: computed from the training data."""
    equation: ClassVar[str] = (
        r"x'_{i, uk} = \frac{1}{\sqrt{N}} \sum_{j \to i} \sum_\mathrm{paths} w_{ij, u} "
        r"\sum_{mn} C^{l_3 k}_{l_1 m\, l_2 n}\, x_{j, um}\, Y_{ij, n}"
    )
    example: ClassVar[str] = (
        "{kind: message, of: charges_and_vectors, weights: radial, keep: 0e + 2e, avg_num_neighbors: 3.0}"
    )
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: message, of: a, weights: radial, irreps_out: 4x1o, paths: [{in1: 0, in2: 1, out: 0}], "
        "avg_num_neighbors: 3.0}",
    )

    def infer(self, scope: Scope) -> Signature:
        x, edge_sh, weights = self._inputs(scope)
        for mul_ir in edge_sh.irreps:
            if mul_ir.mul != 1:
                raise SpecError(("edge_sh",), f"all multiplicities must be 1, but {edge_sh} has {mul_ir}")
        plan = self._plan(x, edge_sh)
        require_scalars("weights", weights, "a field of weights")
        if weights.irreps.dim != plan.weight_numel:
            raise SpecError(
                ("weights",),
                f"this product needs {plan.weight_numel} weights, but {weights} has {weights.irreps.dim}",
                f"read an mlp with irreps_out: {plan.weight_numel}x0e",
            )
        inputs = (x.key, EDGE_INDEX, edge_sh.key, weights.key, EDGE_PAIRS)
        shared = (weights.key,) if weights.key != edge_sh.key else ()
        return Signature(inputs, TensorType(plan.irreps_out, "node"), per_pair=shared)

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.message import Message

        x, edge_sh, _ = self._inputs(scope)
        return Message(self._plan(x, edge_sh), self.avg_num_neighbors)

    def product_plan(self, scope: Scope) -> ProductPlan:
        x, edge_sh, _ = self._inputs(scope)
        return self._plan(x, edge_sh)

    def _inputs(self, scope: Scope) -> tuple[Binding, Binding, Binding]:
        return (
            scope.read(self.of, "node", "of"),
            scope.read(self.edge_sh, "edge", "edge_sh"),
            scope.read(self.weights, "edge", "weights"),
        )

    def _plan(self, x: Binding, edge_sh: Binding) -> ProductPlan:
        a, b = x.irreps, edge_sh.irreps
        if self.paths is None:
            if self.irreps_out is not None:
                raise SpecError(("irreps_out",), "irreps_out needs paths", "write keep, or add paths")
            require_few_paths("keep", a, b)
        elif self.irreps_out is None:
            raise SpecError((), "irreps_out is required with paths")
        elif self.keep is not None:
            raise SpecError(("keep",), "a message with paths has no key keep", "remove keep")
        for key, wanted in (("irreps_out", self.irreps_out), ("keep", self.keep)):
            if wanted is not None:
                require_within(key, wanted, reachable(a, b), f"{x} ⊗ {edge_sh} gives")
        if self.paths is None:
            return plan_channelwise(a, b, self.keep, weights=True)
        return plan_listed(a, b, self.irreps_out, [(p.in1, p.in2, p.out, "uvu", True) for p in self.paths])
