"""``gate``: scalars pass through activations, all other irreps are multiplied by activated scalars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from e3frame.algebra.activations import GateSplit, gate_input, gate_split, plan_gate
from e3frame.algebra.irreps import Irreps
from e3frame.spec.activation import Activations, ByParity
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import Binding, OneInput, Scope, Signature, TensorType

if TYPE_CHECKING:
    from torch import nn


class Gate(OneInput):
    """Scalars become ``φ(x)``; each irrep y with l > 0 becomes ``φ(g) y`` with its own even scalar g.

    The last even scalars of the input are the gates: with ``irreps_out: gate(hidden)`` in the layer before, the result
    is ``hidden``.
    """

    kind: Literal["gate"] = "gate"
    irreps_out: IrrepsField | None = None
    """Expected irreps of the result; checked if given."""
    scalars: Activations = ByParity()
    """Activation of the scalars, or one for each parity: ``{e: silu, o: tanh}``."""
    gates: Activations = ByParity(e="sigmoid")
    """Activation of the gates."""
    equation: ClassVar[str] = r"s_u \mapsto \varphi_s(s_u), \qquad y_u \mapsto \varphi_g(g_u)\, y_u \quad (l > 0)"
    example: ClassVar[str] = "{kind: gate, of: gate_input, scalars: {e: silu, o: tanh}, gates: sigmoid}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: gate, of: gate_input, scalars: {e: ssp, o: abs}, gates: {e: tanh, o: tanh}}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self._input(scope)
        arguments = self._arguments(x)
        for mul_ir in arguments[0]:
            self._activated(x, "scalars", mul_ir.ir.p)
        plan = plan_gate(*arguments)
        if self.irreps_out is not None and plan.irreps_out.regroup() != self.irreps_out.regroup():
            raise SpecError(
                ("irreps_out",),
                f"irreps_out says {self.irreps_out}, but the gate of {x} gives {plan.irreps_out}",
                f"to get {self.irreps_out}, read {gate_input(self.irreps_out)}",
            )
        return Signature((x.key,), TensorType(plan.irreps_out, x.domain))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.gate import Gate

        return Gate(*self._arguments(self._input(scope)))

    def _input(self, scope: Scope) -> Binding:
        x = self.read_one(scope)
        if x.irreps.simplify() != x.irreps.regroup():
            raise SpecError(
                ("of",), f"the irreps of {x} must be sorted for a gate", f"write them as {x.irreps.regroup()}"
            )
        return x

    def _split(self, x: Binding) -> GateSplit:
        try:
            return gate_split(x.irreps)
        except ValueError:
            gated = x.irreps.filter(keep=lambda mul_ir: mul_ir.ir.l > 0)
            need, have = gated.num_irreps, x.irreps.count("0e")
            raise SpecError(
                ("of",) if self.of else (),
                f"a gate needs one 0e for each irrep with l > 0: {need} for {gated}, but {x} has {have}",
                f"set irreps_out: gate({x.irreps}) in the layer before, which is {gate_input(x.irreps)}",
            ) from None

    def _arguments(self, x: Binding) -> tuple[Irreps, list[str], Irreps, list[str], Irreps]:
        split = self._split(x)
        scalars, gates = split.irreps_scalars, split.irreps_gates
        acts: list[Any] = [self.scalars.of(ir.p) for _, ir in scalars]
        return scalars, acts, gates, [self.gates.of(ir.p) for _, ir in gates], split.irreps_gated

    def _activated(self, x: Binding, key: str, p: int) -> None:
        from e3frame.algebra.activations import activation_parity

        try:
            activation_parity(self.scalars.of(p), p)
        except ValueError as error:
            what, _, hint = str(error).partition("; ")
            raise SpecError(
                (key,), f"{what}, but {x} has odd scalars", f"{hint}: {key}: {{e: {self.scalars.e}, o: tanh}}"
            ) from None
