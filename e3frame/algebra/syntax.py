"""Parser of irreps: ``32x0e + 16x1o``, ``2e``, ``1y`` (the parity of the spherical harmonics)."""

from __future__ import annotations

PARITIES = "eoy"


class IrrepsSyntaxError(ValueError):
    """Text that is not a list of irreps.

    Attributes:
        text: the text.
        offset: 0-based position of the first wrong character; ``len(text)`` if the text ends too early.
        expected: what was expected at this position.
    """

    def __init__(self, text: str, offset: int, expected: str) -> None:
        super().__init__(f"cannot read {text!r} at character {offset}: expected {expected}")
        self.text = text
        self.offset = offset
        self.expected = expected

    def __reduce__(self) -> tuple[type[IrrepsSyntaxError], tuple[str, int, str]]:
        return type(self), (self.text, self.offset, self.expected)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        self.skip_space()

    def skip_space(self) -> None:
        while self.peek().isspace():
            self.offset += 1

    def peek(self) -> str:
        return self.text[self.offset : self.offset + 1]

    def at_end(self) -> bool:
        return self.offset == len(self.text)

    def accept(self, characters: str) -> str:
        """Read one of ``characters`` and the spaces after it, or return an empty string."""
        character = self.peek()
        if not character or character not in characters:
            return ""
        self.offset += 1
        self.skip_space()
        return character

    def number(self) -> str:
        """Read decimal digits and the spaces after them, or return an empty string."""
        start = self.offset
        while self.peek().isascii() and self.peek().isdigit():
            self.offset += 1
        digits = self.text[start : self.offset]
        if len(digits) > 18:
            self.offset = start
            raise self.error("a number of at most 18 digits")
        self.skip_space()
        return digits

    def error(self, expected: str) -> IrrepsSyntaxError:
        return IrrepsSyntaxError(self.text, self.offset, expected)

    def irrep(self, degree: str) -> tuple[int, int]:
        parity = self.accept(PARITIES)
        if not parity:
            raise self.error(f"parity e or o after {degree!r}")
        return int(degree), {"e": 1, "o": -1, "y": (-1) ** int(degree)}[parity]

    def term(self, after: str) -> tuple[int, int, int]:
        first = self.number()
        if not first:
            raise self.error(f"an irrep such as 1o or 8x1o{after}")
        if not self.accept("x"):
            return (1, *self.irrep(first))
        degree = self.number()
        if not degree:
            raise self.error(f"a degree l after '{first}x'")
        return (int(first), *self.irrep(degree))


def parse_irrep(text: str) -> tuple[int, int]:
    """Parse one irrep, ``"1o"``, into ``(l, p) = (1, -1)``.

    Raises:
        IrrepsSyntaxError: the text is not an irrep.
    """
    reader = _Reader(text)
    degree = reader.number()
    if not degree:
        raise reader.error("a degree l such as the 1 of 1o")
    irrep = reader.irrep(degree)
    if not reader.at_end():
        raise reader.error("nothing after one irrep")
    return irrep


def parse_irreps(text: str) -> list[tuple[int, int, int]]:
    """Parse irreps, ``"8x1o + 0e"``, into ``[(mul, l, p), ...] = [(8, 1, -1), (1, 0, 1)]``.

    Raises:
        IrrepsSyntaxError: the text is not a list of irreps.
    """
    reader = _Reader(text)
    if reader.at_end():
        return []
    terms = [reader.term("")]
    while not reader.at_end():
        if not reader.accept("+"):
            raise reader.error("'+' or the end")
        terms.append(reader.term(" after '+'"))
    return terms
