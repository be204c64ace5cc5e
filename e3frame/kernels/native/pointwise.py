"""Activations and gates."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from e3frame.algebra.functions import ActivatedGatePlan, ActivationPlan
from e3frame.kernels.backends import kept_with_plans
from e3frame.kernels.native import library
from e3frame.kernels.native.unary import Unary, expect

KINDS = ("identity", "sigmoid", "silu")
"""Activations φ of the library, in the order of their numbers. Written as text, c φ(a x) is ``kind a c``."""


def runs(plan: ActivationPlan) -> bool:
    """Whether the library has the activation."""
    return plan.function in KINDS


@kept_with_plans
def text_of(plan: ActivationPlan) -> str:
    """Write an activation as text."""
    return write_act(str(plan.function), plan.a, plan.c)


def write_act(kind: str, a: float, c: float) -> str:
    return f"{KINDS.index(kind)} {a.hex()} {c.hex()}"


def _read_act(text: str) -> library.Act:
    kind, a, c = text.split()
    library.require(0 <= int(kind) < len(KINDS), "an activation", text)
    return library.Act(int(kind), float.fromhex(a), float.fromhex(c))


def _act(x: Tensor, act: library.Act) -> Tensor:
    x = x * act.a
    return act.c * (x if act.kind == 0 else torch.sigmoid(x) if act.kind == 1 else torch.nn.functional.silu(x))


activate = Unary(
    "activate", lru_cache(_read_act), lambda text, n: n, lambda x, text: _act(x, _read_act(text)), elementwise=True
)
"""``activate(x, text)``: c φ(a x) of each element."""


@kept_with_plans
def gate_text_of(activated: ActivatedGatePlan) -> str:
    """Write a gate as text."""
    plan = activated.gate
    scalars, gates = (
        [text_of(act) for n, act in acts for _ in range(n)] for acts in (activated.scalars, activated.gates)
    )
    places = [i for where in plan.scalars for i in range(where.start, where.stop)]
    gate_places = [i for where in plan.gates for i in range(where.start, where.stop)]
    gated_places = [i for where in plan.gated for i in range(where.start, where.stop)]
    blocks = [
        f"{start} {done} {count} {act}" for start, done, count, act in _runs(places, list(range(len(places))), scalars)
    ]
    gated, at, used = [], 0, 0
    for mul, ir in plan.irreps_gated:
        rows = range(mul)
        starts = [gated_places[at + u * ir.dim] for u in rows]
        for offset, first, count, act in _runs(
            starts, gate_places[used : used + mul], gates[used : used + mul], ir.dim
        ):
            out = len(places) + at + (starts.index(offset)) * ir.dim
            gated.append(f"{first} {offset} {out} {count} {ir.dim} {act}")
        at, used = at + mul * ir.dim, used + mul
    return "|".join([f"{plan.irreps_in.dim} {plan.irreps_out.dim}", ";".join(blocks), ";".join(gated)])


def _runs(starts: list[int], others: list[int], acts: list[str], step: int = 1) -> list[tuple[int, int, int, str]]:
    """Merge entries into runs: the start grows by ``step``, the other place by 1, and the activation is the same.

    Returns:
        (first start, first other place, length, activation) of each run.
    """
    runs: list[tuple[int, int, int, str]] = []
    for start, other, act in zip(starts, others, acts, strict=True):
        if runs:
            first, first_other, count, same = runs[-1]
            if (start, other, act) == (first + count * step, first_other + count, same):
                runs[-1] = (first, first_other, count + 1, act)
                continue
        runs.append((start, other, 1, act))
    return runs


def _items(text: str) -> list[tuple[list[int], library.Act]]:
    read = []
    for item in text.split(";") if text else []:
        *numbers, kind, a, c = item.split()
        read.append((list(map(int, numbers)), _read_act(f"{kind} {a} {c}")))
    return read


@lru_cache
def _read_gate(text: str) -> library.Gate:
    dims, scalars, gated = text.split("|")
    scalar_items = [library.Scalars(*numbers, act) for numbers, act in _items(scalars)]
    gated_items = [library.Gated(*numbers, act) for numbers, act in _items(gated)]
    dim_in, dim_out = map(int, dims.split())
    # For each part: where it reads, how much, where it writes, how much.
    parts = [(s.start, s.mul, s.out, s.mul) for s in scalar_items]
    parts += [(g.start, g.mul * g.dim, g.out, g.mul * g.dim) for g in gated_items]
    parts += [(g.gate, g.mul, 0, 0) for g in gated_items]
    fits = all(min(part) >= 0 and part[0] + part[1] <= dim_in and part[2] + part[3] <= dim_out for part in parts)
    library.require(fits and sum(part[3] for part in parts) == dim_out, "a gate", text)
    return library.Gate(
        *(dim_in, dim_out, len(scalar_items), len(gated_items)),
        library.array(library.Scalars, scalar_items),
        library.array(library.Gated, gated_items),
    )


def _gate(x: Tensor, text: str) -> Tensor:
    _, scalars, gated = text.split("|")
    outs = [_act(x[..., start : start + mul], act) for (start, _, mul), act in _items(scalars)]
    for (gate, start, _, mul, dim), act in _items(gated):
        y = x[..., start : start + mul * dim].unflatten(-1, (mul, dim))
        outs.append((_act(x[..., gate : gate + mul], act).unsqueeze(-1) * y).flatten(-2))
    return torch.cat([x[..., :0], *outs], dim=-1)


def _width(text: str, n: int) -> int:
    plan = _read_gate(text)
    expect("gate", n, plan.dim_in)
    return plan.dim_out


gate = Unary("gate", _read_gate, _width, _gate)
"""``gate(x, text)``: activated scalars, then each gated irrep times its activated gate."""
