"""Activation functions by name, and their application to scalars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from e3frame.algebra.activations import ACTIVATIONS, Symmetry, activation_irreps, symmetry_of
from e3frame.algebra.functions import ActivationPlan
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.kernels.functions import FUNCTIONS, ScalarFunction
from e3frame.math.moments import normalize2mom

__all__ = ["FUNCTIONS", "Activation", "ScalarFunction", "activation", "scaled", "symmetry"]


def activation(act: str | ScalarFunction) -> ScalarFunction:
    """Return the function of a name; a function is returned unchanged.

    Raises:
        ValueError: the name is unknown.
    """
    if not isinstance(act, str):
        return act
    if act not in FUNCTIONS:
        symmetry_of(act)
        raise ValueError(f"'{act}' is a symmetry, not an activation; known: {', '.join(ACTIVATIONS)}")
    return FUNCTIONS[act]


def scaled(act: normalize2mom | None, a: float = 1.0, c: float = 1.0) -> ActivationPlan:
    """Return the plan of ``c φ(a x)``, where φ is a normalised activation, or the identity if None."""
    if act is None:
        return ActivationPlan("identity", a, c)
    name = next((name for name, function in FUNCTIONS.items() if function is act.f), None)
    return ActivationPlan(act.f if name is None else name, a, c * act.factor)


def symmetry(act: str | ScalarFunction) -> Symmetry:
    """Whether f is even, odd or neither: from the table for a name, otherwise from its values on [-10, 10]."""
    if isinstance(act, str):
        return symmetry_of(act)
    x = torch.linspace(0.0, 10.0, 256, dtype=torch.float64)
    with torch.no_grad():
        right, left = act(x), act(-x)
    tolerance = 1e-9 * float(right.abs().max() + left.abs().max())
    if float((right - left).abs().max()) <= tolerance:
        return "even"
    return "odd" if float((right + left).abs().max()) <= tolerance else "neither"


class Activation(nn.Module):
    """Activations of scalars, one for each term of ``irreps_in``, each normalised to unit second moment.

    Args:
        irreps_in: irreps of the input.
        acts: a name, a function or None (no activation) for each term.

    Raises:
        ValueError: see `e3frame.algebra.activations.activation_irreps`.

    >>> Activation("8x0o + 4x1e", ["abs", None]).irreps_out
    8x0e+4x1e
    """

    def __init__(self, irreps_in: IrrepsLike, acts: Sequence[str | ScalarFunction | None]) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        known = [act if act is None or isinstance(act, str) else symmetry(act) for act in acts]
        self.irreps_out = activation_irreps(self.irreps_in, known)
        normalized = [None if act is None else normalize2mom(activation(act)) for act in acts]
        self.acts: Any = nn.ModuleList(normalized)  # type: ignore[arg-type]  # torch takes None, as its types do not say

    def forward(self, features: Tensor, dim: int = -1) -> Tensor:
        """(..., irreps_in.dim) -> (..., irreps_out.dim), with the irreps along ``dim``."""
        terms, start = [], 0
        for mul_ir, act in zip(self.irreps_in, self.acts, strict=True):
            term = features.narrow(dim, start, mul_ir.dim)
            terms.append(term if act is None else act(term))
            start += mul_ir.dim
        return torch.cat(terms, dim=dim) if len(terms) > 1 else terms[0] if terms else features

    def __repr__(self) -> str:
        acts = "".join(" " if act is None else "x" for act in self.acts)
        return f"{type(self).__name__} [{acts}] ({self.irreps_in} -> {self.irreps_out})"
