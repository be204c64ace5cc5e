"""Irreps of nonlinear layers: the parity of an activation and the plan of a gate. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias

from e3frame.algebra.irreps import IrrepLike, Irreps, IrrepsLike

__all__ = [
    "ACTIVATIONS",
    "GatePlan",
    "GateSplit",
    "Symmetry",
    "activation_irreps",
    "activation_parity",
    "gate_input",
    "gate_split",
    "plan_gate",
    "symmetry_of",
]

Symmetry: TypeAlias = Literal["even", "odd", "neither"]

#: Symmetry of each named activation: even, f(-x) = f(x); odd, f(-x) = -f(x).
ACTIVATIONS: dict[str, Symmetry] = {
    "silu": "neither",
    "sigmoid": "neither",
    "relu": "neither",
    "gelu": "neither",
    "elu": "neither",
    "mish": "neither",
    "softplus": "neither",
    "ssp": "neither",
    "tanh": "odd",
    "sin": "odd",
    "softsign": "odd",
    "identity": "odd",
    "abs": "even",
    "square": "even",
    "cos": "even",
    "gaussian": "even",
}
_SYMMETRIES: dict[str, Symmetry] = {**ACTIVATIONS, "even": "even", "odd": "odd", "neither": "neither"}


def symmetry_of(activation: str) -> Symmetry:
    """Return the symmetry of an activation.

    Args:
        activation: a name of `ACTIVATIONS`; or ``even``, ``odd`` or ``neither`` for an unnamed function.

    Raises:
        ValueError: an unknown name.

    >>> symmetry_of("tanh"), symmetry_of("neither")
    ('odd', 'neither')
    """
    if activation not in _SYMMETRIES:
        close = get_close_matches(activation.lower(), ACTIVATIONS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(ACTIVATIONS)}"
        raise ValueError(f"unknown activation '{activation}'; {hint}")
    return _SYMMETRIES[activation]


def activation_parity(activation: str, p: int) -> int:
    """Return the parity of f(x) for a scalar x.

    Even scalars stay even. Odd scalars stay odd under an odd function and become even under an even one.

    Args:
        activation: see `symmetry_of`.
        p: parity of x, 1 or -1.

    Raises:
        ValueError: another ``p``; or ``p`` is -1 and the function is neither odd nor even, so f(x) has no parity.

    >>> activation_parity("silu", 1), activation_parity("tanh", -1), activation_parity("abs", -1)
    (1, -1, 1)
    """
    if p not in (1, -1):
        raise ValueError(f"the parity must be 1 or -1, got {p}")
    symmetry = symmetry_of(activation)
    if p == 1:
        return 1
    if symmetry == "neither":
        odd = ", ".join(name for name, kind in ACTIVATIONS.items() if kind == "odd")
        even = ", ".join(name for name, kind in ACTIVATIONS.items() if kind == "even")
        subject = activation if activation in ACTIVATIONS else "this function"
        raise ValueError(
            f"{subject} of an odd scalar (0o) has no parity: it is neither odd nor even; "
            f"use {odd} (0o stays 0o) or {even} (0o becomes 0e)"
        )
    return -1 if symmetry == "odd" else 1


def activation_irreps(irreps_in: IrrepsLike, activations: Sequence[str | None]) -> Irreps:
    """Return the irreps after applying one activation to each term; None leaves a term unchanged.

    Raises:
        ValueError: not one activation per term, an activation of l > 0, or a result without parity.

    >>> activation_irreps("8x0e + 4x0o + 2x1o", ["silu", "abs", None])
    8x0e+4x0e+2x1o
    """
    irreps_in = Irreps(irreps_in)
    if len(irreps_in) != len(activations):
        raise ValueError(
            f"{irreps_in or 'no irreps'} needs {len(irreps_in)} activations (or None), one for each term; "
            f"got {len(activations)}"
        )
    terms: list[tuple[int, IrrepLike]] = []
    for (mul, ir), activation in zip(irreps_in, activations, strict=True):
        if activation is None:
            terms.append((mul, ir))
        elif ir.l > 0:
            raise ValueError(f"an activation needs scalars, got {mul}x{ir}; use a gate or a norm activation for l > 0")
        else:
            terms.append((mul, (0, activation_parity(activation, ir.p))))
    return Irreps(terms)


@dataclass(frozen=True)
class GatePlan:
    """Plan of a gate (⊕ φ_i(x_i)) ⊕ (⊕ φ_j(g_j) y_j) with scalars x, gates g and gated irreps y.

    Attributes:
        irreps_in: all three, sorted and merged; equal irreps keep the order scalars, gates, gated.
        irreps_out: the activated scalars, then the gated irreps.
        scalars, gates, gated: slices of the input, in the order of their irreps.
        irreps_gated: the gated irreps, split so that each term has its own term of gates.
    """

    irreps_in: Irreps
    irreps_out: Irreps
    scalars: tuple[slice, ...]
    gates: tuple[slice, ...]
    gated: tuple[slice, ...]
    irreps_gated: Irreps


def plan_gate(
    irreps_scalars: IrrepsLike,
    act_scalars: Sequence[str | None],
    irreps_gates: IrrepsLike,
    act_gates: Sequence[str | None],
    irreps_gated: IrrepsLike,
) -> GatePlan:
    """Plan a gate, which multiplies each irrep of ``irreps_gated`` by one activated scalar of ``irreps_gates``.

    Raises:
        ValueError: scalars or gates of l > 0, a wrong number of gates or activations, or a result without parity.

    >>> plan = plan_gate("8x0e", ["silu"], "6x0e", ["sigmoid"], "4x1o + 2x2e")
    >>> plan.irreps_in, plan.irreps_out
    (14x0e+4x1o+2x2e, 8x0e+4x1o+2x2e)
    """
    parts = [Irreps(irreps) for irreps in (irreps_scalars, irreps_gates, irreps_gated)]
    for name, part in zip(("scalars", "gates"), parts, strict=False):
        if any(ir.l > 0 for mul, ir in part if mul > 0):
            raise ValueError(f"the {name} of a gate must have l = 0, got {part}")
    if parts[1].num_irreps != parts[2].num_irreps:
        raise ValueError(
            f"a gate needs one gate scalar for each gated irrep: "
            f"{parts[2].num_irreps} for {parts[2] or 'none'}, got {parts[1].num_irreps} ({parts[1] or 'none'})"
        )
    scalars_out = activation_irreps(parts[0], act_scalars)
    gates_out = activation_irreps(parts[1], act_gates)
    gated_in, gated_out = _pair(parts[2].simplify(), gates_out.simplify())
    irreps_in, (scalars, gates, gated) = _sorted_sum([part.simplify() for part in parts])
    return GatePlan(irreps_in, scalars_out + gated_out, scalars, gates, gated, irreps_gated=gated_in)


def _pair(gated: Irreps, gates: Irreps) -> tuple[Irreps, Irreps]:
    """Split both so that their terms pair up; return the pieces of ``gated`` and their products with the gates."""
    pieces, products = [], []
    queue = [[mul, ir.p] for mul, ir in gates]
    for mul, ir in gated:
        while mul > 0:
            count = min(mul, queue[0][0])
            pieces.append((count, ir))
            products.append((count, (ir.l, ir.p * queue[0][1])))
            mul -= count
            queue[0][0] -= count
            if queue[0][0] == 0:
                queue.pop(0)
    return Irreps(pieces), Irreps(products)


def _sorted_sum(parts: Sequence[Irreps]) -> tuple[Irreps, list[tuple[slice, ...]]]:
    """Return the direct sum of ``parts``, sorted and merged, and the slices of each part in it."""
    ordered = Irreps([term for part in parts for term in part]).sort()
    slices = ordered.irreps.slices()
    where, i = [], 0
    for part in parts:
        own: list[slice] = []
        for position in ordered.p[i : i + len(part)]:
            piece = slices[position]
            if own and own[-1].stop == piece.start:
                own[-1] = slice(own[-1].start, piece.stop)
            else:
                own.append(piece)
        where.append(tuple(own))
        i += len(part)
    return ordered.irreps.simplify(), where


@dataclass(frozen=True)
class GateSplit:
    """Input of a gate in three parts: scalars, one gate for each gated irrep, and the gated irreps (l > 0)."""

    irreps_scalars: Irreps
    irreps_gates: Irreps
    irreps_gated: Irreps


def gate_input(irreps_out: IrrepsLike, gate_parity: int = 1) -> Irreps:
    """Return the irreps that a gate needs as input to give ``irreps_out``.

    Its scalars are the terms of l = 0. Each irrep of l > 0 needs one more scalar as its gate.

    Args:
        irreps_out: output of the gate.
        gate_parity: parity of the gates after their activation, which must not change it. Odd gates (-1) flip the
            parity of the irreps that they multiply.

    >>> gate_input("8x0e + 4x1o + 2x2e")
    14x0e+4x1o+2x2e
    >>> gate_input("8x0e + 4x1o", gate_parity=-1)
    4x0o+8x0e+4x1e
    """
    irreps_out = Irreps(irreps_out)
    scalars = irreps_out.filter(lmax=0)
    gated = Irreps([(mul, (ir.l, ir.p * gate_parity)) for mul, ir in irreps_out if ir.l > 0])
    gates = Irreps([(gated.num_irreps, (0, gate_parity))])
    return (scalars + gates + gated).regroup()


def gate_split(irreps_in: IrrepsLike, gate_parity: int = 1) -> GateSplit:
    """Split the input of a gate, the inverse of `gate_input`: the last scalars of ``gate_parity`` are the gates.

    Raises:
        ValueError: fewer scalars of ``gate_parity`` than irreps of l > 0.

    >>> split = gate_split("14x0e + 4x1o + 2x2e")
    >>> split.irreps_scalars, split.irreps_gates, split.irreps_gated
    (8x0e, 6x0e, 4x1o+2x2e)
    """
    irreps_in = Irreps(irreps_in).regroup()
    gate = Irreps([(1, (0, gate_parity))])[0].ir
    gated = Irreps([(mul, ir) for mul, ir in irreps_in if ir.l > 0])
    have, need = irreps_in.count(gate), gated.num_irreps
    if have < need:
        raise ValueError(
            f"a gate needs one {gate} for each irrep of l > 0: {need} for {gated}, got {have} in {irreps_in}; "
            f"for the output {irreps_in}, its input must be {gate_input(irreps_in, gate_parity)}"
        )
    scalars = Irreps([(mul - need if ir == gate else mul, ir) for mul, ir in irreps_in if ir.l == 0])
    return GateSplit(scalars.simplify(), Irreps([(need, gate)]).simplify(), gated)
