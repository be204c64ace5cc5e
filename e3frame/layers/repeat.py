"""``repeat``: repeats layers, with separate weights."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from e3frame.spec.errors import PathKey
from e3frame.spec.layer import Binding, LayerSpec, NamedLayers, Scope, Step, fold
from e3frame.spec.limits import LAYERS


class Repeat(LayerSpec):
    """Unrolls ``layers`` ``times`` times. Its name refers to the last layer of the last round."""

    kind: Literal["repeat"] = "repeat"
    times: int = Field(ge=1, le=LAYERS)
    """Number of rounds."""
    layers: NamedLayers
    """Layers of one round. They can read fields from before the repeat; the latest field is that of the previous
    round."""
    equation: ClassVar[str] = r"x \leftarrow f_t(x), \quad t = 1, \dots, \mathrm{times}"
    example: ClassVar[str] = "{kind: repeat, times: 2, layers: {mix: {kind: linear, of: x, irreps_out: 4x0e + 4x1o}}}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: repeat, times: 2, layers: {inner: {kind: repeat, times: 2, layers: {act: {kind: norm_activation}}}}}",
    )

    @property
    def num_steps(self) -> int:
        return self.times * sum(layer.num_steps for layer in self.layers.values())

    def thread(self, name: str, key: str, path: PathKey, scope: Scope) -> tuple[Scope, list[Step]]:
        steps: list[Step] = []
        for round_ in range(self.times):
            _, added = fold(self.layers, scope, (*path, "layers"), f"{key}/{round_}/")
            last = added[-1].binding
            scope = scope.bind(Binding(name, last.key, last.field))
            steps += added
        return scope, steps
