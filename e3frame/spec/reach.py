"""Messages about irreps that are out of reach, shared by the layers."""

from __future__ import annotations

from collections.abc import Iterable

from e3frame.algebra.irreps import Irrep, Irreps
from e3frame.spec.errors import SpecError
from e3frame.spec.layer import Binding


def require_within(key: str, wanted: Irreps, reachable: Iterable[Irrep], source: str) -> None:
    """Every irrep wanted must be among the reachable ones.

    Args:
        source: what reaches them, such as ``'x' (4x0e) ⊗ 'edge_sh' (0e+1o) gives``.

    Raises:
        SpecError: at ``key``, naming what is reachable.
    """
    found = sorted(set(reachable))
    for mul_ir in wanted:
        if mul_ir.ir not in found:
            listed = ", ".join(map(str, found)) or "nothing"
            gives = source if source.endswith(" gives") else f"{source} holds"
            raise SpecError(
                (key,), f"{mul_ir} is out of reach: {gives} {listed}", _nearest(mul_ir.mul, mul_ir.ir, found)
            )


def _nearest(mul: int, wanted: Irrep, found: list[Irrep]) -> str | None:
    """The other parity where that is reachable; else no guess."""
    flipped = Irrep(wanted.l, -wanted.p)
    return f"did you mean {mul}x{flipped}?" if flipped in found else None


def unread_terms(key: str, x: Binding, read: Iterable[Irrep]) -> tuple[tuple[str, str], ...]:
    """A warning where part of an input cannot reach the output."""
    unread = Irreps([mul_ir for mul_ir in x.irreps if mul_ir.ir not in set(read)])
    if not unread:
        return ()
    return ((key, f"a dead end: {unread} of {x} reaches no output of this layer"),)


def require_claim(claimed: Irreps | None, actual: Irreps, what: str) -> None:
    """Where a spec says what its result should be, it must be right."""
    if claimed is not None and claimed.simplify() != actual.simplify():
        raise SpecError(
            ("irreps_out",), f"irreps_out says {claimed}, but {what} is {actual}", f"write irreps_out: {actual}"
        )


def require_scalars(key: str, x: Binding, what: str) -> None:
    """Even scalars alone may go through arbitrary functions."""
    others = [mul_ir for mul_ir in x.irreps if not mul_ir.ir.is_scalar()]
    if others:
        raise SpecError(
            (key,),
            f"{what} reads even scalars (0e) alone, {x} has {others[0]}",
            "take a linear layer with irreps_out: 0e before it, or a gate for the other irreps",
        )
