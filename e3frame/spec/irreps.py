"""Irreps in YAML: an irreps string, a name from the model's ``irreps:``, ``gate(...)``, and sums of these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, ValidationInfo, WithJsonSchema

from e3frame.algebra.activations import gate_input
from e3frame.algebra.irreps import Irrep, Irreps, IrrepsSyntaxError
from e3frame.spec.base import mistake, shown
from e3frame.spec.errors import did_you_mean
from e3frame.spec.limits import COMPONENTS, DEGREE, TERMS

Symmetry = Literal["O(3)", "SO(3)"]
"""Rotations with inversion, or rotations alone."""

_NAME = re.compile(r"[A-Za-z_]\w*")
LONGEST = 1_000
"""Largest length of an expression; nested ``gate(`` uses Python's stack."""
_NO_SPACE = re.compile(r"\S")


def parse_irreps(text: str, names: Mapping[str, Irreps]) -> Irreps:
    """Parse an expression into irreps.

    ``gate(x)`` is the input that a gate needs to return ``x``: one more even scalar for each irrep with l > 0. Odd
    scalars need none.

    Raises:
        IrrepsSyntaxError: with the offset into ``text``.

    >>> parse_irreps("gate(hidden) + 2x0o", {"hidden": Irreps("4x0e + 3x1o")})
    7x0e+3x1o+2x0o
    """
    if len(text) > LONGEST:
        raise IrrepsSyntaxError(text[:60], 60, f"at most {LONGEST:,} characters")
    irreps, end = _sum(text, 0, names)
    if end < len(text):
        raise IrrepsSyntaxError(text, end, "'+' or the end")
    return irreps


def _sum(text: str, start: int, names: Mapping[str, Irreps]) -> tuple[Irreps, int]:
    total, position = _term(text, start, names)
    while position < len(text) and text[position] == "+":
        term, position = _term(text, position + 1, names)
        total = total + term
        if len(total) > TERMS:
            raise IrrepsSyntaxError(text, start, f"at most {TERMS:,} terms")
    return total, position


def _after_space(text: str, start: int) -> int:
    """Return the index of the next non-space character, or of the end."""
    found = _NO_SPACE.search(text, start)
    return len(text) if found is None else found.start()


def _term(text: str, start: int, names: Mapping[str, Irreps]) -> tuple[Irreps, int]:
    position = _after_space(text, start)
    name = _NAME.match(text, position)
    if name is None:
        end = next((i for i in range(position, len(text)) if text[i] in "+)"), len(text))
        return _literal(text, position, end), end
    end = _after_space(text, name.end())
    if name[0] == "gate" and text[end : end + 1] == "(":
        inner, close = _sum(text, end + 1, names)
        if text[close : close + 1] != ")":
            raise IrrepsSyntaxError(text, close, "')' to close 'gate('")
        return gate_input(inner), _after_space(text, close + 1)
    if name[0] not in names:
        raise IrrepsSyntaxError(
            text, position, f"an irrep such as 8x1o, or a name from irreps; {_known(name[0], names)}"
        )
    return names[name[0]], end


def _known(name: str, names: Mapping[str, Irreps]) -> str:
    return did_you_mean(name, names, "known names") if names else "irreps is empty in this model"


def _literal(text: str, start: int, end: int) -> Irreps:
    if text and not text[start:end].strip():
        raise IrrepsSyntaxError(text, end, "an irrep such as 8x1o")
    try:
        return Irreps(text[start:end])
    except IrrepsSyntaxError as error:
        raise IrrepsSyntaxError(text, start + error.offset, error.expected) from None


def under(irreps: Irreps, symmetry: Symmetry) -> Irreps:
    """Return how irreps of O(3) transform under a symmetry. SO(3) has no parity: its irreps are written as even.

    >>> under(Irreps("4x0e + 2x1o"), "SO(3)")
    4x0e+2x1e
    """
    return irreps if symmetry == "O(3)" else Irreps([(mul, Irrep(ir.l, 1)) for mul, ir in irreps])


def too_large(irreps: Irreps) -> str | None:
    """Return the limit that irreps exceed, as a message, or None."""
    if len(irreps) > TERMS:
        return f"at most {TERMS:,} terms are allowed, got {len(irreps):,}: {shown(irreps)}"
    degree = max((ir.l for _, ir in irreps), default=0)
    if degree > DEGREE:
        return f"l is at most {DEGREE}, got {degree} in {shown(irreps)}"
    if irreps.dim > COMPONENTS:
        return f"at most {COMPONENTS:,} components are allowed, but {shown(irreps)} has {irreps.dim:,}"
    return None


def _validate(raw: Any, info: ValidationInfo) -> Irreps:
    if isinstance(raw, Irreps):
        return raw
    if not isinstance(raw, str):
        raise mistake(f"expected an irreps string such as 16x0e + 8x1o, got {shown(raw)}")
    if len(raw) > LONGEST:
        raise mistake(f"irreps have at most {LONGEST:,} characters, got {len(raw):,}: {shown(raw)}")
    names = (info.context or {}).get("irreps", {})
    try:
        irreps = parse_irreps(raw, names)
    except IrrepsSyntaxError as error:
        pointer = " " * error.offset + "^"
        raise mistake(f"expected {error.expected}\n  {raw}\n  {pointer}", offset=error.offset) from None
    problem = too_large(irreps)
    if problem is not None:
        raise mistake(problem)
    if irreps.dim == 0:
        raise mistake(f"{shown(raw)} has no irreps", "write at least one, such as 16x0e")
    return irreps


IrrepsField = Annotated[
    InstanceOf[Irreps],
    BeforeValidator(_validate),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "format": "irreps", "examples": ["32x0e + 16x1o", "hidden", "gate(hidden)"]}),
]
