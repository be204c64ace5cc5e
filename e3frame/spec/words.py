"""Numbers and foreign text in sentences and tables."""

from __future__ import annotations

from e3frame.algebra.errors import printable as printable


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "epoch"), counted(1200, "frame")
    ('1 epoch', '1,200 frames')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def rounded(value: float, digits: int = 3) -> str:
    """A number with so many digits that count, and large ones without an exponent.

    >>> rounded(0.012), rounded(1234.5), rounded(12345.6, 4), rounded(445.0, 4), rounded(1005.2, 4), rounded(999.6)
    ('0.0120', '1,230', '12,350', '445.0', '1005', '1,000')
    """
    text = f"{value:#.{digits}g}".rstrip(".")
    return f"{float(text):,.0f}" if 10**digits <= abs(float(text)) < 1e6 else text
