"""``repeat``: repeats layers, with separate weights."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from e3frame.spec.errors import PathKey, SpecError, did_you_mean
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
    carry: tuple[str, ...] = ()
    """Fields from before the repeat that the layer of the same name replaces: the next round, and layers after the
    repeat, read its result."""
    equation: ClassVar[str] = r"x \leftarrow f_t(x), \quad t = 1, \dots, \mathrm{times}"
    example: ClassVar[str] = "{kind: repeat, times: 2, layers: {mix: {kind: linear, of: x, irreps_out: 4x0e + 4x1o}}}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: repeat, times: 2, carry: [a], layers: {a: {kind: norm_activation, of: a}, b: {kind: linear, of: a, "
        "irreps_out: 4x0e}}}",
        "{kind: repeat, times: 2, layers: {inner: {kind: repeat, times: 2, layers: {act: {kind: norm_activation}}}}}",
    )

    @property
    def num_steps(self) -> int:
        return self.times * sum(layer.num_steps for layer in self.layers.values())

    def thread(self, name: str, key: str, path: PathKey, scope: Scope) -> tuple[Scope, list[Step]]:
        for n, each in enumerate(self.carry):
            if each not in self.layers:
                hint = did_you_mean(each, self.layers, "layers of a round")
                raise SpecError((*path, "carry", n), f"no layer of the round is named '{each}'", hint)
        steps: list[Step] = []
        for round_ in range(self.times):
            inner, added = fold(self.layers, scope, (*path, "layers"), f"{key}/{round_}/")
            carried = [inner.bindings[each] for each in self.carry]
            last = added[-1].binding
            for binding in (*carried, Binding(name, last.key, last.field)):
                scope = scope.bind(binding)
            steps += added
        return scope, steps
