"""``residual``: adds the result of layers to their input."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.spec.errors import PathKey, SpecError
from e3frame.spec.layer import Binding, LayerSpec, NamedLayers, Scope, Signature, Step, TensorType, fold

if TYPE_CHECKING:
    from torch import nn


class Residual(LayerSpec):
    """``out = x + f(x)`` with the inner layers f."""

    kind: Literal["residual"] = "residual"
    of: str | None = None
    """The field x; default: the latest field per node. Inner layers see it as the latest field."""
    layers: NamedLayers
    """The layers f; the last one must have the irreps of x."""
    equation: ClassVar[str] = r"x' = x + f(x)"
    example: ClassVar[str] = (
        "{kind: residual, of: x, layers: {mix: {kind: linear, irreps_out: 4x0e + 2x0o + 3x1o + 2x1e + 2x2e}}}"
    )
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: residual, of: energies, layers: {inner: {kind: residual, layers: {mix: {kind: mlp, irreps_out: 0e}}}}}",
    )

    @property
    def num_steps(self) -> int:
        return 1 + sum(layer.num_steps for layer in self.layers.values())

    def thread(self, name: str, key: str, path: PathKey, scope: Scope) -> tuple[Scope, list[Step]]:
        try:
            x = scope.read(self.of, None if self.of else "node", "of")
        except SpecError as error:
            raise error.under(*path) from None
        _, steps = fold(self.layers, scope.bind(x), (*path, "layers"), f"{key}/")
        last = steps[-1].binding
        if last.field != x.field:
            raise SpecError(
                (*path, "layers", last.name),
                f"the last layer must be {x.field} to be added to {x}, but '{last.name}' is {last.field}",
                f"add a linear layer with irreps_out: {x.irreps} at the end",
            )
        output = TensorType(
            x.irreps,
            x.domain,
            x.field.per_species and last.field.per_species,
            x.field.reversal if x.field.reversal == last.field.reversal else 0,
        )
        binding = Binding(name, key, output)
        return scope.bind(binding), [*steps, Step(binding, path, self, scope, Signature((x.key, last.key), output))]

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.reduce import Add

        return Add()
