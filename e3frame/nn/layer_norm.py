"""Layer normalisation of irreps."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.nn.parameters import Role

__all__ = ["LayerNorm"]


class LayerNorm(nn.Module):
    """γ_u (x_u - μ) / sqrt(σ² + ε) + β_u, for each type of irrep on its own (as in Equiformer, Liao & Smidt 2023).

    For the M copies x_u of one irrep (l, p), over all terms of the irreps,

        μ  = (1/M) Σ_u x_u  for l = 0 (with ``center``), and 0 for l > 0,
        σ² = (1/M) Σ_u ‖x_u - μ‖² / (2l + 1).

    For 0e this is the layer normalisation of Ba et al. (2016); for l > 0 it divides by the root mean square of the
    components, a number that no rotation changes. β is learned for 0e only, since it would break all other symmetries.

    Args:
        irreps: irreps of the input, and of the output.
        eps: ε, which keeps derivatives finite at zero features.
        affine: learn γ (``weight``, one for each irrep) and β (``bias``, one for each 0e).
        center: subtract μ from scalars.

    Raises:
        ValueError: ``center`` with a single scalar of a type, which would become zero; or ``eps`` not positive.
    """

    parameter_roles: ClassVar[dict[str, Role]] = {"weight": "bias"}

    def __init__(self, irreps: IrrepsLike, eps: float = 1e-5, affine: bool = True, center: bool = True) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps}")
        self.irreps = Irreps(irreps)
        self.irreps_in = self.irreps_out = self.irreps
        self.eps = eps
        self.affine = affine
        self.center = center
        self.types = sorted({ir for mul, ir in self.irreps if mul > 0})
        for ir in self.types:
            if center and ir.l == 0 and self.irreps.count(ir) == 1:
                raise ValueError(
                    f"{self.irreps} has a single {ir}, which centring makes zero; use more of them, or center=False"
                )
        if affine:
            self.weight = nn.Parameter(torch.ones(self.irreps.num_irreps))
            self.bias = nn.Parameter(torch.zeros(self.irreps.count("0e")))

    def forward(self, x: Tensor) -> Tensor:
        """(..., irreps.dim) -> (..., irreps.dim)."""
        terms = [
            x[..., s].unflatten(-1, (mul, ir.dim)) if mul else x[..., s].unsqueeze(-1)
            for s, (mul, ir) in zip(self.irreps.slices(), self.irreps, strict=True)
        ]
        for ir in self.types:
            own = [i for i, (mul, other) in enumerate(self.irreps) if other == ir and mul > 0]
            for i, term in zip(own, self._normalised([terms[i] for i in own], ir.l), strict=True):
                terms[i] = term
        if self.affine:
            terms = self._affine(terms)
        return torch.cat([x[..., :0], *[term.flatten(-2) for term in terms]], dim=-1)

    def _normalised(self, terms: list[Tensor], degree: int) -> list[Tensor]:
        joint = torch.cat(terms, dim=-2) if len(terms) > 1 else terms[0]
        if degree == 0 and self.center:
            joint = joint - joint.mean(-2, keepdim=True)
        joint = joint * (joint.square().mean((-2, -1), keepdim=True) + self.eps).rsqrt()
        return list(joint.split([term.shape[-2] for term in terms], dim=-2))

    def _affine(self, terms: list[Tensor]) -> list[Tensor]:
        out, i, j = [], 0, 0
        for (mul, ir), term in zip(self.irreps, terms, strict=True):
            if mul:
                term = term * self.weight[i : i + mul, None]
            if mul and ir.is_scalar():
                term = term + self.bias[j : j + mul, None]
                j += mul
            out.append(term)
            i += mul
        return out

    def extra_repr(self) -> str:
        return f"{self.irreps}, eps={self.eps}, affine={self.affine}, center={self.center}"
