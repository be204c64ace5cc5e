"""Formatting of numbers and units in sentences and tables."""

from __future__ import annotations

import re

from e3frame.algebra.errors import printable as printable

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_POWER = re.compile(r"\^(-?\d+)")
_ANGSTROM = re.compile(r"(?<![A-Za-zµμ])(?:Ang|[Aa]ngstrom)(?![A-Za-z])")


def counted(number: int, noun: str) -> str:
    """Format a number with a noun, in the singular or plural.

    >>> counted(1, "epoch"), counted(1200, "frame")
    ('1 epoch', '1,200 frames')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def rounded(value: float, digits: int = 3) -> str:
    """Format a number with this many significant digits, without an exponent up to a million.

    >>> rounded(0.012), rounded(1234.5), rounded(12345.6, 4), rounded(445.0, 4), rounded(1005.2, 4), rounded(999.6)
    ('0.0120', '1,230', '12,350', '445.0', '1005', '1,000')
    """
    text = f"{value:#.{digits}g}".rstrip(".")
    return f"{float(text):,.0f}" if 10**digits <= abs(float(text)) < 1e6 else text


def typeset(unit: str) -> str:
    """Format a unit for the screen, figures and reports.

    >>> typeset("eV/Å^3"), typeset("e*Å^2"), typeset("kcal/mol/Ang"), typeset("cal/(mol K)"), typeset("Å**3")
    ('eV/Å³', 'e·Å²', 'kcal/mol/Å', 'cal/(mol K)', 'Å³')
    """
    text = _ANGSTROM.sub("Å", unit.replace("**", "^"))
    return _POWER.sub(lambda found: found[1].translate(_RAISED), text).replace("*", "·")


def in_unit(what: str, unit: str) -> str:
    """Format a heading with its unit, if there is one.

    >>> in_unit("stress", "eV/Å^3"), in_unit("loss", "")
    ('stress (eV/Å³)', 'loss')
    """
    return f"{what} ({typeset(unit)})" if unit else what
