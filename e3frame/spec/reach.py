"""Checks of the irreps of layers, shared by the layers."""

from __future__ import annotations

from collections.abc import Iterable

from e3frame.algebra.irreps import Irrep, Irreps
from e3frame.spec.errors import SpecError
from e3frame.spec.layer import Binding


def require_within(key: str, wanted: Irreps, reachable: Iterable[Irrep], source: str) -> None:
    """Raise SpecError for an irrep that is not reachable.

    Args:
        key: key of the spec with the irreps, for the message.
        wanted: irreps of the result.
        reachable: irreps that can be reached.
        source: source of the reachable irreps, such as ``'x' (4x0e) ⊗ 'edge_sh' (0e+1o) gives``.

    Raises:
        SpecError: an irrep is out of reach; lists those that are reachable.
    """
    found = sorted(set(reachable))
    for mul_ir in wanted:
        if mul_ir.ir not in found:
            listed = ", ".join(map(str, found)) or "nothing"
            gives = source if source.endswith(" gives") else f"{source} has"
            raise SpecError(
                (key,), f"{mul_ir} is out of reach: {gives} {listed}", _nearest(mul_ir.mul, mul_ir.ir, found)
            )


def _nearest(mul: int, wanted: Irrep, found: list[Irrep]) -> str | None:
    """Suggest the other parity if it is reachable."""
    flipped = Irrep(wanted.l, -wanted.p)
    return f"did you mean {mul}x{flipped}?" if flipped in found else None


def unread_terms(key: str, x: Binding, read: Iterable[Irrep]) -> tuple[tuple[str, str], ...]:
    """Warn about terms of an input that cannot reach the output."""
    unread = Irreps([mul_ir for mul_ir in x.irreps if mul_ir.ir not in set(read)])
    if not unread:
        return ()
    return ((key, f"{unread} of {x} is not used: no path leads from it to irreps_out"),)


def require_claim(claimed: Irreps | None, actual: Irreps, what: str) -> None:
    """Raise SpecError if ``irreps_out`` is given and differs from the irreps of the result."""
    if claimed is not None and claimed.simplify() != actual.simplify():
        raise SpecError(
            ("irreps_out",), f"irreps_out says {claimed}, but {what} is {actual}", f"write irreps_out: {actual}"
        )


def require_vector(key: str, x: Binding) -> None:
    """Raise SpecError unless the field is one vector."""
    if x.irreps.dim != 3 or x.irreps.lmax != 1:
        raise SpecError((key,), f"one vector (1x1o or 1x1e) is required, but {x} is not")


def require_same(x: Binding, first: Binding, key: str) -> None:
    """Raise SpecError if two fields that are added have different irreps or domains."""
    if x.domain != first.domain or x.irreps.simplify() != first.irreps.simplify():
        problem = f"'{x.name}' is {x.field}, but '{first.name}', to which it is added, is {first.field}"
        hint = f"add a linear layer with irreps_out: {first.irreps} before it" if x.domain == first.domain else None
        raise SpecError((key,), problem, hint)


def require_scalars(key: str, x: Binding, what: str) -> None:
    """Raise SpecError unless all irreps are 0e: only even scalars may go through arbitrary functions."""
    others = [mul_ir for mul_ir in x.irreps if not mul_ir.ir.is_scalar()]
    if others:
        raise SpecError(
            (key,),
            f"{what} needs even scalars (0e), but {x} has {others[0]}",
            "add a linear layer with irreps_out: 0e before it, or use a gate for the other irreps",
        )
