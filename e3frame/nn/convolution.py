"""Equivariant message passing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.interaction import plan_interaction
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.nn.mlp import FullyConnectedNet
from e3frame.nn.reduce import group_sum
from e3frame.nn.self_connection import SelfConnection
from e3frame.o3 import IndexedLinear, Linear

__all__ = ["Convolution"]


class Convolution(nn.Module):
    """x'_i = L₂ Σ_{e: j -> i} (L₁x)_j ⊗ y_e · w(r_e) / √N + S(x_i), the interaction of NequIP (Batzner et al. 2022).

    The product is taken channel by channel, over all paths into an irrep of ``irreps_out``; each channel of each path
    has its own weight, which a multilayer perceptron (silu, no bias) computes from the radial functions of the edge.
    N is the mean number of neighbours, L₁ and L₂ are linear, S is a linear map that depends on the species. Messages
    vanish wherever the radial functions do, or a cutoff that multiplies the weights. With a density, L₂ Σ is divided by
    1 + Σ_{e: j -> i} tanh((v · radial_e)²) / √N, with a learned vector v (MACE, Batatia et al. 2023, arXiv 2401.00096).

    Args:
        irreps_in: features of the nodes.
        irreps_sh: harmonics of the edges, each of multiplicity 1.
        irreps_out: features of the output.
        radial_in: number of radial functions.
        radial_mlp: sizes of the hidden layers of the radial network.
        num_species: number of species.
        avg_num_neighbors: N.
        self_connection: whether to add S. Without it, the output of an isolated node is zero.
        irreps_attributes: even scalars, such as ``32x0e``, on which S depends linearly; `forward` takes them as
            ``attributes``. None: S has its own weights for each species.
        attributes_per_species: whether nodes of one species have the same attributes, such as those of an embedding.
        density: whether to divide by the density.

    Raises:
        ValueError: an output out of reach, attributes that are not 0e, or a number that is not positive.
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_sh: IrrepsLike,
        irreps_out: IrrepsLike,
        radial_in: int,
        radial_mlp: Sequence[int],
        num_species: int,
        avg_num_neighbors: float,
        self_connection: bool = True,
        irreps_attributes: IrrepsLike = None,
        attributes_per_species: bool = False,
        density: bool = False,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_sh, self.irreps_out = Irreps(irreps_in), Irreps(irreps_sh), Irreps(irreps_out)
        self.irreps_attributes = None if irreps_attributes is None else Irreps(irreps_attributes)
        if num_species < 1:
            raise ValueError(f"num_species must be positive, got {num_species}")
        if not avg_num_neighbors > 0:
            raise ValueError(f"avg_num_neighbors must be positive, got {avg_num_neighbors}")
        rows = num_species if self.irreps_attributes is None else self.irreps_attributes.dim
        self.avg_num_neighbors = float(avg_num_neighbors)
        irreps, self_rows = (self.irreps_in, self.irreps_sh, self.irreps_out), rows if self_connection else 0
        self.plan = plan_interaction(*irreps, radial_in, radial_mlp, self_rows, density)
        self._product = self.plan.product.scaled(self.avg_num_neighbors**-0.5)
        self.linear_1 = Linear(self.irreps_in, self.irreps_in)
        self.radial = FullyConnectedNet(self.plan.radial, "silu")
        self.density = FullyConnectedNet(self.plan.density) if density else None
        self.linear_2 = Linear(self.plan.linear_out.irreps_in, self.irreps_out)
        self.self_connection: nn.Module | None = None
        if self_connection and self.irreps_attributes is None:
            self.self_connection = IndexedLinear(self.irreps_in, self.irreps_out, num_species)
        elif self_connection:
            known = num_species if attributes_per_species else None
            self.self_connection = SelfConnection(self.irreps_in, self.irreps_attributes, self.irreps_out, known)

    def forward(
        self,
        x: Tensor,
        species: Tensor,
        edge_index: Tensor,
        edge_sh: Tensor,
        radial: Tensor,
        edge_pairs: Tensor | None = None,
        attributes: Tensor | None = None,
        cutoff: Tensor | None = None,
    ) -> Tensor:
        """(n, irreps_in.dim) -> (n, irreps_out.dim).

        Args:
            x: features of the nodes.
            species: (n,) index of the species.
            edge_index: (2, e), rows source and target.
            edge_sh: (e, irreps_sh.dim).
            radial: (e, radial_in), or (p, radial_in) with ``edge_pairs``.
            edge_pairs: (e,) row of each edge in ``radial``, if edges share rows; see `e3frame.kernels.pairs`.
            attributes: (n, irreps_attributes.dim), if the module has ``irreps_attributes``; otherwise not read.
            cutoff: (e, 1), or (p, 1) with ``edge_pairs``, multiplies the weights and the terms of the density.
        """
        weights = _ended(self.radial(radial), cutoff)
        x_1, num_nodes = self.linear_1(x), x.shape[0]
        out = kernels.convolution(x_1, edge_index, edge_sh, weights, self._product, num_nodes, edge_pairs)
        out = self.linear_2(out)
        if self.density is not None:
            each = _ended(torch.tanh(self.density(radial).square()), cutoff)
            each = each if edge_pairs is None else each.index_select(0, edge_pairs)
            density = group_sum(each, edge_index[1], num_nodes) * self.avg_num_neighbors**-0.5
            out = out / (1.0 + density)
        if self.self_connection is None:
            return out
        if self.irreps_attributes is None:
            return out + self.self_connection(x, species)
        return out + self.self_connection(x, attributes, species)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} x {self.irreps_sh} -> {self.irreps_out}, avg_num_neighbors={self.avg_num_neighbors:g}"


def _ended(each: Tensor, cutoff: Tensor | None) -> Tensor:
    """Values of edges, or of pairs of edges, times their cutoff."""
    return each if cutoff is None else each * cutoff
