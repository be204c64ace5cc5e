"""Chemical symbols by atomic number, and their type in a spec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator

from e3frame.spec.base import mistake, shown
from e3frame.spec.errors import did_you_mean

SYMBOLS = tuple(
    # X is a placeholder, so that the position of a symbol is its atomic number.
    """X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
    Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
    Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
    Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og""".split()  # noqa: SIM905
)
ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def require_elements(numbers: Iterable[int]) -> None:
    """Raise ValueError for the first atom with an invalid atomic number."""
    for atom, number in enumerate(numbers):
        if not 0 < number < len(SYMBOLS):
            given = f": its atomic number is {number}" if number else ""
            raise ValueError(f"atom {atom} is not an element{given}")


def _element(symbol: Any) -> str:
    if not isinstance(symbol, str):
        known = isinstance(symbol, int) and symbol is not True and 0 < symbol < len(SYMBOLS)
        hint = f"write {SYMBOLS[symbol]}" if known else None
        raise mistake(f"expected a chemical symbol, got {shown(symbol)}", hint)
    if symbol not in SYMBOLS[1:]:
        raise mistake(f"{symbol} is not an element", did_you_mean(symbol, SYMBOLS[1:]))
    return symbol


Element = Annotated[str, BeforeValidator(_element)]
