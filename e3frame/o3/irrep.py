"""Irreps by name: ``l1o`` is ``Irrep("1o")``.

>>> from e3frame.o3.irrep import l1o, l2e
>>> l1o + l2e
1x1o+1x2e
"""

from __future__ import annotations

from e3frame.algebra.irreps import Irrep


def __getattr__(name: str) -> Irrep:
    if name.startswith("l"):
        try:
            return Irrep(name[1:])
        except ValueError:
            pass
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; irreps are named l0e, l1o, ...")
