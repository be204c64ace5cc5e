"""``tensor_product``: tensor products, with all paths of a family or a list of paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.irreps import Irreps
from e3frame.algebra.paths import (
    ProductPlan,
    plan_channelwise,
    plan_elementwise,
    plan_full,
    plan_fully_connected,
    plan_square,
    reachable,
)
from e3frame.layers._paths import Path, plan_listed
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import Binding, LayerSpec, Scope, Signature, TensorType, require_few_paths
from e3frame.spec.limits import TERMS
from e3frame.spec.reach import require_scalars, require_within

if TYPE_CHECKING:
    from torch import nn

Mode = Literal["uvw", "uvu", "uvv", "uuw", "uuu", "uvuv"]


class ModePath(Path):
    """One product of a term of x1 with a term of x2 into a term of irreps_out; terms count from 0."""

    mode: Mode
    """How the copies u of x1, v of x2 and w of the output combine."""
    weight: bool = True
    """Whether the path has weights."""
    path_weight: float = Field(1.0, ge=0)
    """Relative share of the output's variance."""


# For each mode a product of the 4x0e of x, and whether it has weights.
_PATHS = (
    ("species", "3x0e", "uvw", "true"),
    ("species", "4x0e", "uvu", "true"),
    ("species", "4x0e", "uvu", "false"),
    ("species", "6x0e", "uvv", "true"),
    ("x", "3x0e", "uuw", "true"),
    ("x", "4x0e", "uuu", "true"),
    ("species", "24x0e", "uvuv", "false"),
)


class TensorProduct(LayerSpec):
    """``out = Σ_paths w C(x1 ⊗ x2)``, with coefficients that give unit variance at initialisation."""

    kind: Literal["tensor_product"] = "tensor_product"
    product: Literal["fully_connected", "full", "channelwise", "elementwise", "square", "paths"] = "fully_connected"
    """``fully_connected``: all paths into irreps_out, each with weights over all copies. ``full``: every product of two
    irreps. ``channelwise``: copy u of each term of x1 with copy u, or the only copy, of each term of x2.
    ``elementwise``: the same for each term with the one in its place. ``square``: x1 with itself. ``paths``: the listed
    paths."""
    x1: str | None = None
    """First field; default: the latest field per node."""
    x2: str | None = None
    """Second field, of the same domain; ``square`` has none."""
    irreps_out: IrrepsField | None = None
    """Irreps of the result, for ``fully_connected``, ``paths`` and (then with weights) ``square``. For the others use
    ``keep``."""
    keep: IrrepsField | None = None
    """For ``full``, ``channelwise``, ``elementwise`` and ``square``: irreps to keep, such as 0e + 1o. Default: all."""
    paths: Annotated[tuple[ModePath, ...], Field(max_length=TERMS)] | None = None
    """For ``paths``: list of paths, such as ``[{in1: 0, in2: 1, out: 0, mode: uvu}]``."""
    weights: str | None = None
    """Field of scalars used as weights, such as an mlp of the edge lengths; default: trained weights, and none for
    ``channelwise``."""
    equation: ClassVar[str] = (
        r"x'_{wk} = \sum_\mathrm{paths} \sum_{uv} w_{uvw} \sum_{ij} C^{l_3 k}_{l_1 i\, l_2 j}\, x_{1, ui}\, x_{2, vj}"
    )
    example: ClassVar[str] = "{kind: tensor_product, x1: x, x2: x, irreps_out: 3x0e + 2x1o + 2x1e + 2e}"
    variants: ClassVar[tuple[str, ...]] = (
        *(
            f"{{kind: tensor_product, product: paths, x1: x, x2: {x2}, irreps_out: {out}, "
            f"paths: [{{in1: 0, in2: 0, out: 0, mode: {mode}, weight: {weight}}}]}}"
            for x2, out, mode, weight in _PATHS
        ),
        "{kind: tensor_product, product: full, x1: scalars, x2: x}",
        "{kind: tensor_product, product: full, x1: edge_vectors, x2: edge_sh, keep: 0e + 1e}",
        "{kind: tensor_product, product: elementwise, x1: x, x2: x, keep: 0e + 1o + 1e}",
        "{kind: tensor_product, product: elementwise, x1: radial, x2: edge_vectors}",
        "{kind: tensor_product, product: channelwise, x1: b, x2: b, keep: 0e + 1o}",
        "{kind: tensor_product, product: channelwise, x1: edge_vectors, x2: edge_sh, keep: 0e + 1o + 2o, "
        "weights: radial}",
        "{kind: tensor_product, product: square, x1: x}",
        "{kind: tensor_product, product: square, x1: x, irreps_out: 3x0e + 2x2e}",
        "{kind: tensor_product, x1: edge_vectors, x2: edge_sh, irreps_out: 2x0e + 1x1o, weights: radial}",
    )

    def infer(self, scope: Scope) -> Signature:
        x1, x2, weights = self._inputs(scope)
        plan = self._plan(x1, x2)
        inputs = [x1.key, (x2 or x1).key]
        if weights is not None:
            require_scalars("weights", weights, "the weights of a product")
            if weights.irreps.dim != plan.weight_numel:
                raise SpecError(
                    ("weights",),
                    f"this product needs {plan.weight_numel} weights, but {weights} has {weights.irreps.dim}",
                    f"set irreps_out: {plan.weight_numel}x0e in '{weights.name}'"
                    if plan.weight_numel
                    else "remove weights",
                )
            inputs.append(weights.key)
        return Signature(tuple(inputs), TensorType(plan.irreps_out, x1.domain), self._dead(plan, x1, x2))

    def num_parameters(self, scope: Scope) -> int:
        x1, x2, weights = self._inputs(scope)
        return 0 if weights is not None else self._plan(x1, x2).weight_numel

    def build(self, scope: Scope) -> nn.Module:
        from e3frame import o3

        x1, x2, weights = self._inputs(scope)
        return o3.TensorProduct.from_plan(self._plan(x1, x2), shared_weights=weights is None)

    def product_plan(self, scope: Scope) -> ProductPlan:
        x1, x2, _ = self._inputs(scope)
        return self._plan(x1, x2)

    def _inputs(self, scope: Scope) -> tuple[Binding, Binding | None, Binding | None]:
        x1 = scope.read(self.x1, None if self.x1 else "node", "x1")
        if self.product == "square":
            if self.x2 is not None:
                raise SpecError(("x2",), "product: square multiplies x1 with itself and has no x2", "remove x2")
            x2 = None
        elif self.x2 is None:
            raise SpecError((), f"x2 is required for product: {self.product}")
        else:
            x2 = scope.read(self.x2, x1.domain, "x2")
        return x1, x2, scope.read(self.weights, x1.domain, "weights") if self.weights else None

    def _plan(self, x1: Binding, x2: Binding | None) -> ProductPlan:
        self._require_keys()
        a, b = x1.irreps, (x2 or x1).irreps
        require_few_paths("irreps_out", a, b, *([self.irreps_out] if self.irreps_out is not None else []))
        gives = f"{x1} ⊗ {x2 or x1} gives"
        for key, wanted in (("irreps_out", self.irreps_out), ("keep", self.keep)):
            if wanted is not None:
                require_within(key, wanted, reachable(a, b), gives)
        if self.product == "full":
            return plan_full(a, b, self.keep)
        if self.product == "square":
            return plan_square(a, self.irreps_out, self.keep)
        if self.product == "fully_connected":
            return plan_fully_connected(a, b, self.irreps_out)
        if self.product in ("channelwise", "elementwise"):
            return self._copy_by_copy(a, b)
        return self._explicit(a, b)

    def _require_keys(self) -> None:
        weighted = self.product in ("fully_connected", "paths")
        for key, value, needed, allowed in (
            ("irreps_out", self.irreps_out, weighted, weighted or self.product == "square"),
            ("paths", self.paths, self.product == "paths", self.product == "paths"),
            ("keep", self.keep, False, not weighted),
        ):
            if value is None and needed:
                raise SpecError((), f"{key} is required for product: {self.product}")
            if value is not None and not allowed:
                raise SpecError((key,), f"product: {self.product} has no key {key}", f"remove {key}")
        if self.irreps_out is not None and self.keep is not None:
            raise SpecError(("keep",), "product: square takes irreps_out or keep, not both", "remove keep")

    def _copy_by_copy(self, a: Irreps, b: Irreps) -> ProductPlan:
        try:
            if self.product == "channelwise":
                return plan_channelwise(a, b, self.keep, weights=self.weights is not None)
            return plan_elementwise(a, b, self.keep, broadcast=True)
        except ValueError as error:
            raise SpecError(("x2",), str(error)) from None

    def _explicit(self, a: Irreps, b: Irreps) -> ProductPlan:
        paths = [(p.in1, p.in2, p.out, p.mode, p.weight, p.path_weight) for p in self.paths or ()]
        return plan_listed(a, b, self.irreps_out, paths)

    def _dead(self, plan: ProductPlan, x1: Binding, x2: Binding | None) -> tuple[tuple[str, str], ...]:
        warnings = []
        for key, x, used in (
            ("x1", x1, {ins.i_in1 for ins in plan.instructions}),
            ("x2", x2, {ins.i_in2 for ins in plan.instructions}),
        ):
            if x is None or self.product not in ("fully_connected", "paths"):
                continue
            unread = Irreps([term for i, term in enumerate(x.irreps) if i not in used])
            if unread:
                warnings.append((key, f"{unread} of {x} is not used by any path"))
        return tuple(warnings)
