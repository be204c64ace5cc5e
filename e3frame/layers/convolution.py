"""``convolution``: equivariant message passing along the edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.interaction import InteractionPlan, plan_interaction
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.paths import ProductPlan, reachable
from e3frame.layers.mlp import Widths
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField, too_large
from e3frame.spec.layer import (
    EDGE_INDEX,
    EDGE_PAIRS,
    SPECIES,
    Binding,
    LayerSpec,
    Scope,
    Signature,
    TensorType,
    auto,
    require_few_paths,
)
from e3frame.spec.reach import require_scalars, require_within

if TYPE_CHECKING:
    from torch import nn


class Convolution(LayerSpec):
    """``x'_i = L2 Σ_{j -> i} (L1 x)_j ⊗ edge_sh w(radial) / √avg_num_neighbors + S x_i`` (Batzner et al. 2022).

    L1 and L2 are linear. The product runs channel by channel over all paths into irreps_out, with weights w from a
    multilayer perceptron of the radial functions. S is a linear map for each species.
    """

    kind: Literal["convolution"] = "convolution"
    of: str | None = None
    """Field per node to read; default: the latest."""
    edge_sh: str = "edge_sh"
    """Field per edge with the spherical harmonics, each of multiplicity 1."""
    radial: str = "radial"
    """Field per edge with the radial functions, even scalars."""
    irreps_out: IrrepsField
    """Irreps of the result, each reached by some path; ``gate(hidden)`` if a gate follows."""
    radial_mlp: Widths = (64, 64)
    """Widths of the hidden layers of the radial network."""
    avg_num_neighbors: auto(float, lambda statistics: statistics.avg_num_neighbors) = Field("auto", gt=0)  # type: ignore[valid-type]
    """Mean number of edges per atom. ``auto``: computed from the training data."""
    density: bool = False
    """Divide the messages by a density of the neighbours, ``1 + Σ tanh((v · radial)²) / √avg_num_neighbors`` with a
    trained v (Batatia et al. 2023, arXiv 2401.00096), so that many neighbours do not make large features."""
    cutoff: str | None = None
    """Field per edge, one even scalar, that multiplies the weights w and the terms of the density, for radial functions
    that do not end at r_max themselves."""
    self_connection: bool = True
    """Add S x_i. Without it the atom's own features are lost, and isolated atoms give zero."""
    attributes: str | None = None
    """Field per node of even scalars that S depends on linearly, instead of the species."""
    equation: ClassVar[str] = (
        r"x'_i = W_2 \sum_{j \to i} \frac{(W_1 x_j) \otimes_{w(r_{ij})} Y(\hat r_{ij})}{\sqrt{N}} + S_{z_i} x_i, "
        r"\qquad w(r) = \mathrm{MLP}(\mathrm{radial}(r))"
    )
    example: ClassVar[str] = (
        "{kind: convolution, of: x, irreps_out: 4x0e + 3x0o + 2x1o + 1e + 2x2e, radial_mlp: [6], "
        "avg_num_neighbors: 3.0}"
    )
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: convolution, of: x, irreps_out: 3x0e + 2x1o, radial_mlp: [6], "
        "avg_num_neighbors: 3.0, self_connection: false}",
        "{kind: convolution, of: x, irreps_out: 3x0e + 2x1e, radial_mlp: [], "
        "avg_num_neighbors: 3.0, attributes: species}",
        "{kind: convolution, of: x, irreps_out: 3x0e + 2x1o, radial_mlp: [6], "
        "avg_num_neighbors: 3.0, self_connection: false, density: true}",
        "{kind: convolution, of: x, irreps_out: 3x0e + 2x1o, radial: jumping, radial_mlp: [6], "
        "avg_num_neighbors: 3.0, density: true, cutoff: ending}",
    )

    def infer(self, scope: Scope) -> Signature:
        x, edge_sh, radial, attributes = self._inputs(scope)
        for mul_ir in edge_sh.irreps:
            if mul_ir.mul != 1:
                raise SpecError(("edge_sh",), f"all multiplicities must be 1, but {edge_sh} has {mul_ir}")
        require_scalars("radial", radial, "the radial network")
        require_few_paths("irreps_out", x.irreps, edge_sh.irreps, self.irreps_out)
        require_within("irreps_out", self.irreps_out, reachable(x.irreps, edge_sh.irreps), f"{x} ⊗ {edge_sh} gives")
        inputs = [x.key, SPECIES, EDGE_INDEX, edge_sh.key, radial.key, EDGE_PAIRS]
        if attributes is not None:
            if not self.self_connection:
                raise SpecError(("attributes",), "attributes need self_connection: true", "remove attributes")
            require_scalars("attributes", attributes, "the self-connection")
            inputs.append(attributes.key)
        cutoff = self._read_cutoff(scope)
        if cutoff is not None:
            unread = [SPECIES] if attributes is None else []  # in the place of attributes
            inputs += [*unread, cutoff.key]
        problem = too_large(self._plan(scope).product.irreps_out.simplify())
        if problem is not None:
            raise SpecError(("irreps_out",), f"the product of {x} and {edge_sh} is too large: {problem}")
        output, dead = TensorType(self.irreps_out, "node"), self._dead(x, edge_sh)
        return Signature(tuple(inputs), output, dead, per_pair=_per_pair(edge_sh, radial, cutoff))

    def num_parameters(self, scope: Scope) -> int:
        return self._plan(scope).num_parameters

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.convolution import Convolution

        x, edge_sh, radial, attributes = self._inputs(scope)
        return Convolution(
            x.irreps,
            edge_sh.irreps,
            self.irreps_out,
            radial.irreps.dim,
            self.radial_mlp,
            scope.num_species,
            self.avg_num_neighbors,
            self.self_connection,
            None if attributes is None else attributes.irreps,
            attributes is not None and attributes.field.per_species,
            self.density,
        )

    def product_plan(self, scope: Scope) -> ProductPlan:
        return self._plan(scope).product

    def _inputs(self, scope: Scope) -> tuple[Binding, Binding, Binding, Binding | None]:
        return (
            scope.read(self.of, "node", "of"),
            scope.read(self.edge_sh, "edge", "edge_sh"),
            scope.read(self.radial, "edge", "radial"),
            scope.read(self.attributes, "node", "attributes") if self.attributes else None,
        )

    def _read_cutoff(self, scope: Scope) -> Binding | None:
        if self.cutoff is None:
            return None
        cutoff = scope.read(self.cutoff, "edge", "cutoff")
        if cutoff.irreps.simplify() != Irreps("0e"):
            raise SpecError(("cutoff",), f"one even scalar (0e) is required, but {cutoff} is not")
        return cutoff

    def _plan(self, scope: Scope) -> InteractionPlan:
        x, edge_sh, radial, attributes = self._inputs(scope)
        rows = scope.num_species if attributes is None else attributes.irreps.dim
        self_rows = rows if self.self_connection else 0
        return plan_interaction(
            x.irreps, edge_sh.irreps, self.irreps_out, radial.irreps.dim, self.radial_mlp, self_rows, self.density
        )

    def _dead(self, x: Binding, edge_sh: Binding) -> tuple[tuple[str, str], ...]:
        """Warn about spherical harmonics that no path into irreps_out uses."""
        wanted = {ir for _, ir in self.irreps_out}
        unread = [str(ir) for _, ir in edge_sh.irreps if not any(wanted & set(ir_in * ir) for _, ir_in in x.irreps)]
        return (
            (("edge_sh", f"{' + '.join(unread)} of {edge_sh} is not used: no path leads from it to irreps_out"),)
            if unread
            else ()
        )


def _per_pair(edge_sh: Binding, radial: Binding, cutoff: Binding | None) -> tuple[str, ...]:
    """Return the inputs that the module takes once for an edge and its reverse: all of the same rows, or none."""
    shared = [radial, *([] if cutoff is None else [cutoff])]
    alike = len({x.field.reversal == 1 for x in shared}) == 1
    return tuple(x.key for x in shared) if alike and edge_sh.key not in {x.key for x in shared} else ()
