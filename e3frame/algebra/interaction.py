"""Plan of an equivariant message passing step: its linear maps, product and radial network, with their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.paths import (
    LinearPlan,
    ProductPlan,
    plan_convolution,
    plan_fully_connected,
    plan_linear,
    reachable,
)

__all__ = ["InteractionPlan", "SelfConnectionPlan", "mlp_numel", "plan_interaction"]


def mlp_numel(hs: Sequence[int], bias: bool = False) -> int:
    """Return the number of parameters of a multilayer perceptron with layer sizes ``hs``.

    >>> mlp_numel([8, 64, 64, 96])
    10752
    """
    return sum(h_in * h_out + bias * h_out for h_in, h_out in pairwise(hs))


@dataclass(frozen=True)
class InteractionPlan:
    """Parts of an interaction, in the order in which they run; built by `plan_interaction`.

    Attributes:
        linear_in: mixes the node features.
        product: source features times edge harmonics, one output term per path.
        linear_out: mixes the outputs of the paths.
        radial: layer sizes of the network that computes the weights of the product.
        self_connection: a node's own features times its attributes (or its one-hot species); None without.
        density: layer sizes of the network that computes the density of the neighbours; empty without.
    """

    linear_in: LinearPlan
    product: ProductPlan
    linear_out: LinearPlan
    radial: tuple[int, ...]
    self_connection: ProductPlan | None
    density: tuple[int, ...] = ()

    @property
    def weight_numels(self) -> dict[str, int]:
        """Number of trainable parameters of each part."""
        return {
            "linear_in": self.linear_in.weight_numel,
            "radial": mlp_numel(self.radial),
            "density": mlp_numel(self.density),
            "linear_out": self.linear_out.weight_numel,
            "self_connection": self.self_connection.weight_numel if self.self_connection else 0,
        }

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(self.weight_numels.values())


@dataclass(frozen=True)
class SelfConnectionPlan:
    """The fully connected product of a node's features with its attributes, which are even scalars.

    Attributes:
        product: the product.
        num_species: number of species if all nodes of a species have equal attributes, else None.
    """

    product: ProductPlan
    num_species: int | None


def plan_interaction(
    irreps_in: IrrepsLike,
    irreps_sh: IrrepsLike,
    irreps_out: IrrepsLike,
    radial_in: int,
    radial_mlp: Sequence[int],
    self_rows: int = 0,
    density: bool = False,
) -> InteractionPlan:
    """Plan an interaction ``irreps_in -> irreps_out`` along edges with harmonics ``irreps_sh``.

    Args:
        irreps_in: node features.
        irreps_sh: edge harmonics, each of multiplicity 1.
        irreps_out: node features after the interaction.
        radial_in: number of radial functions.
        radial_mlp: sizes of the hidden layers of the radial network.
        self_rows: number of species (or attributes) that the self-connection depends on; 0 for no self-connection.
        density: whether messages are divided by a density of the neighbours.

    Raises:
        ValueError: an output that no path reaches; see also `plan_convolution`.

    >>> hidden = "32x0e + 32x1o + 32x2e"
    >>> plan_interaction(hidden, "0e + 1o + 2e", "96x0e + 32x1o + 32x2e", 8, [64, 64], 32).weight_numels
    {'linear_in': 3072, 'radial': 27136, 'density': 0, 'linear_out': 17408, 'self_connection': 163840}
    """
    irreps = Irreps(irreps_in), Irreps(irreps_sh), Irreps(irreps_out)
    return _planned(*irreps, radial_in, tuple(radial_mlp), self_rows, density)


@lru_cache(256)
def _planned(
    irreps_in: Irreps,
    irreps_sh: Irreps,
    irreps_out: Irreps,
    radial_in: int,
    radial_mlp: tuple[int, ...],
    self_rows: int,
    density: bool,
) -> InteractionPlan:
    """Build the plan; cached, because a type check needs it several times."""
    within = reachable(irreps_in, irreps_sh)
    for mul_ir in irreps_out:
        if mul_ir.ir not in within:
            gives = ", ".join(map(str, within)) or "nothing"
            raise ValueError(f"{mul_ir} is out of reach: ({irreps_in}) ⊗ ({irreps_sh}) gives {gives}")
    product = plan_convolution(irreps_in, irreps_sh, irreps_out)
    return InteractionPlan(
        linear_in=plan_linear(irreps_in, irreps_in),
        product=product,
        linear_out=plan_linear(product.irreps_out.simplify(), irreps_out),
        radial=(radial_in, *radial_mlp, product.weight_numel),
        self_connection=plan_fully_connected(irreps_in, f"{self_rows}x0e", irreps_out) if self_rows else None,
        density=(radial_in, 1) if density else (),
    )
