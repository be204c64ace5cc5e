"""One round of message passing of mace-torch: an interaction block and the product basis after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from e3frame.algebra.interaction import plan_interaction
from e3frame.algebra.irreps import Irrep, Irreps
from e3frame.algebra.plan import ProductPlan
from e3frame.algebra.symmetric_product import (
    HIGHEST_CORRELATION,
    SymmetricProductPlan,
    plan_symmetric_product,
)
from e3frame.convert.e3nn_weights import (
    Matrices,
    copies,
    linear,
    linear_per_species,
    network,
    our_linear,
    our_linear_per_species,
    product_paths,
)
from e3frame.convert.modules import Module
from e3frame.spec.words import printable

_KINDS = {
    "RealAgnosticInteractionBlock": False,
    "RealAgnosticDensityInteractionBlock": False,
    "RealAgnosticResidualInteractionBlock": True,
    "RealAgnosticDensityResidualInteractionBlock": True,
}
"""The blocks that are known, and whether they add a linear map of the features before them to those after them."""


@dataclass(frozen=True)
class Part:
    """Some layers, with their weights by ``layer.parameter``."""

    layers: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)


class Interaction:
    """The conversion of an interaction and its product.

    Args:
        module: the interaction.
        product: the product.
        number: counted from 1; it ends the names of the layers.
        num_species: number of species.
        embedding: (species, channels), the features before the first interaction; None for those after it.
        cutoff: field that multiplies the weights of the product, if the radial functions do not end themselves.
    """

    def __init__(
        self,
        module: Module,
        product: Module,
        number: int,
        num_species: int,
        embedding: Tensor | None,
        cutoff: str | None,
    ) -> None:
        if module.kind not in _KINDS:
            raise module.error(f"{printable(module.kind, 60)} is not known here, only {', '.join(_KINDS)}")
        self.module, self.product, self.number, self.num_species = module, product, number, num_species
        self.embedding, self.cutoff = embedding, cutoff
        self.residual, self.density = _KINDS[module.kind], "Density" in module.kind
        self.irreps_in, self.irreps_mid = module.irreps("node_feats_irreps"), module.irreps("target_irreps")
        self.irreps_out = product.module("linear").irreps("irreps_out")
        self.irreps_sent = module.irreps("edge_irreps" if module.has_attribute("edge_irreps") else "node_feats_irreps")
        self.part = Part()

    def converted(self, of: str) -> Part:
        """Return its layers, which read the features ``of``; the last one is ``features_<number>``."""
        n = self.number
        message = f"message_{n}"
        self._message(of, message)
        if not self.residual:
            self._per_species(f"mixed_{n}", message, self.irreps_mid, self.irreps_mid)
            message = f"mixed_{n}"
        self._product(message, f"product_{n}")
        kept = self.residual and self.product.attribute("use_sc") is True
        if kept and self.embedding is not None:
            self._with_species(self.embedding)
        elif kept:
            self._linear(f"updated_{n}", f"product_{n}")
            self._per_species(f"kept_{n}", of, self.irreps_in, self.irreps_out)
            self.part.layers[f"features_{n}"] = {"kind": "add", "of": [f"updated_{n}", f"kept_{n}"]}
        else:
            self._linear(f"features_{n}", f"product_{n}")
        return self.part

    def _with_species(self, embedding: Tensor) -> None:
        """Map the product linearly, and add a row for each species: its embedding, mapped with weights of its own."""
        n, scalar = self.number, Irrep("0e")
        rows = torch.einsum("zu,zuw->zw", embedding, linear_per_species(self.module.module("skip_tp"))[scalar])
        scalars = Irreps([(rows.shape[1], scalar)])
        self._add(f"kept_{n}", {"kind": "species_embedding", "irreps_out": str(scalars)}, weight=rows)
        self.part.layers[f"parts_{n}"] = {"kind": "concatenate", "of": [f"product_{n}", f"kept_{n}"]}
        matrices = linear(self.product.module("linear"))
        matrices[scalar] = torch.cat([matrices[scalar], torch.eye(rows.shape[1], dtype=torch.float64)])
        weights = our_linear(matrices, self.irreps_out + scalars, self.irreps_out)
        layer = {"kind": "linear", "of": f"parts_{n}", "irreps_out": str(self.irreps_out)}
        self._add(f"features_{n}", layer, weight=weights)

    def _add(self, name: str, layer: dict[str, Any], **weights: Tensor) -> None:
        self.part.layers[name] = layer
        self.part.weights.update({f"{name}.{key}": tensor for key, tensor in weights.items()})

    def _message(self, of: str, name: str) -> None:
        """The convolution over neighbours, up to the linear map of what it gives."""
        module = self.module
        plan = plan_interaction(self.irreps_sent, module.irreps("edge_attrs_irreps"), self.irreps_mid, 1, ())
        matched = match_paths(module.module("conv_tp"), plan.product)
        *hidden, last = network(module.module("conv_tp_weights"))
        if last.shape[1] != len(matched.columns):
            raise module.error(f"{len(matched.columns)} weights per edge are required", "conv_tp_weights")
        networks = [*hidden, last[:, matched.columns] * matched.factors]
        mixing = {ir: matrix[matched.rows[ir]] for ir, matrix in linear(module.module("linear")).items()}
        neighbors = 1.0 if self.density else module.number("avg_num_neighbors")
        # Ours divides by the root of the number of neighbours, mace-torch by the number.
        mixing = {ir: matrix * neighbors**-0.5 for ir, matrix in mixing.items()}
        upward = linear(module.module("linear_up"))
        if self.irreps_sent != self.irreps_in:
            of, upward = self._upward(of, upward)
        layer: dict[str, Any] = {
            "kind": "convolution",
            "of": of,
            "irreps_out": str(self.irreps_mid),
            "radial_mlp": [each.shape[1] for each in hidden],
            "avg_num_neighbors": neighbors,
            "self_connection": False,
        }
        weights = {f"radial.layer{k}.weight": each for k, each in enumerate(networks)}
        weights["linear_1.weight"] = our_linear(upward, self.irreps_sent, self.irreps_sent)
        weights["linear_2.weight"] = our_linear(mixing, plan.linear_out.irreps_in, self.irreps_mid)
        if self.density:
            layer["density"] = True
            (weights["density.layer0.weight"],) = network(module.module("density_fn"))
        if self.cutoff is not None:
            layer["cutoff"] = self.cutoff
        self._add(name, layer, **weights)

    def _upward(self, of: str, matrices: Matrices) -> tuple[str, Matrices]:
        """Move the linear map before the product, which changes the irreps here, into a layer of its own."""
        name = f"sent_{self.number}"
        weights = our_linear(matrices, self.irreps_in, self.irreps_sent)
        self._add(name, {"kind": "linear", "of": of, "irreps_out": str(self.irreps_sent)}, weight=weights)
        irreps = self.irreps_sent
        return name, {ir: torch.eye(irreps.count(ir), dtype=torch.float64) for _, ir in irreps}

    def _linear(self, name: str, of: str) -> None:
        weights = our_linear(linear(self.product.module("linear")), self.irreps_out, self.irreps_out)
        self._add(name, {"kind": "linear", "of": of, "irreps_out": str(self.irreps_out)}, weight=weights)

    def _per_species(self, name: str, of: str, irreps_in: Irreps, irreps_out: Irreps) -> None:
        """A linear map with weights for each species."""
        matrices = linear_per_species(self.module.module("skip_tp"))
        weights = our_linear_per_species(matrices, irreps_in, irreps_out)
        layer = {"kind": "linear", "of": of, "irreps_out": str(irreps_out), "per_species": True}
        self._add(name, layer, weight=weights)

    def _product(self, of: str, name: str) -> None:
        """The symmetric product, from the basis of the file to the reduced one."""
        parts = self.product.module("symmetric_contractions", "SymmetricContraction").modules("contractions")
        shared = self.product.attribute("use_agnostic_product", False) is True
        rows = 1 if shared else self.num_species
        degrees = {_degrees(part) for part in parts}
        if len(degrees) != 1:
            raise self.product.error("one correlation for all irreps is required")
        (correlation,) = degrees
        plan = plan_symmetric_product(self.irreps_mid, self.irreps_out, correlation, rows)
        if len(plan.copies) != len(parts):
            raise self.product.error(f"{len(plan.copies)} contractions are required, got {len(parts)}")
        blocks = [_block(part, plan, ir) for part, ir in zip(parts, plan.copies, strict=True)]
        layer = {"kind": "symmetric_product", "of": of, "irreps_out": str(self.irreps_out), "correlation": correlation}
        layer |= {"per_species": False} if shared else {}
        self._add(name, layer, weight=torch.cat(blocks, dim=1))


def _degrees(part: Module) -> int:
    """The highest degree of a contraction."""
    return sum(part.holds(f"U_matrix_{degree}") for degree in range(1, HIGHEST_CORRELATION + 2))


def _block(part: Module, plan: SymmetricProductPlan, ir: Irrep) -> Tensor:
    """The weights of one copy of the output for each channel: (rows, couplings, channels)."""
    found = []
    for degree in range(1, plan.correlation + 1):
        highest = degree == plan.correlation
        name = "weights_max" if highest else str(plan.correlation - 1 - degree)
        weights = (part if highest else part.module("weights")).tensor(name, plan.rows, -1, plan.mul).double()
        shape = (*([ir.dim] if ir.l else []), *[plan.dim] * degree, weights.shape[1])
        tensors = part.tensor(f"U_matrix_{degree}", *shape).double().reshape(ir.dim, *shape[-degree - 1 :])
        change = torch.from_numpy(plan.express(ir, tensors.numpy()))
        found.append(torch.einsum("qp,spu->squ", change, weights))
    return torch.cat(found, dim=1)


class Matched(NamedTuple):
    """Paths of a channel-wise product in the order of our plan.

    Attributes:
        columns: for each of our weights, the number of theirs.
        factors: what to multiply each of them by.
        rows: for each irrep, the copies of their result in the order of ours.
    """

    columns: Tensor
    factors: Tensor
    rows: dict[Irrep, Tensor]


def match_paths(product: Module, plan: ProductPlan) -> Matched:
    """Find each path of our plan among those of a ``TensorProduct`` with weights for each channel and edge.

    Raises:
        NotUnderstood: they are others.
    """
    results = product.irreps("irreps_out")
    if product.irreps("irreps_in1") != plan.irreps_in1 or product.irreps("irreps_in2") != plan.irreps_in2:
        raise product.error(f"a product of {plan.irreps_in1} and {plan.irreps_in2} is required")
    theirs, start = {}, 0
    for path in product_paths(product):
        theirs[path.i_in1, path.i_in2, results[path.i_out].ir] = path, start
        start += prod(path.shape)
    columns, factors = [], []
    rows: dict[Irrep, list[Tensor]] = {}
    for own in plan.instructions:
        ir, channels = plan.irreps_out[own.i_out].ir, torch.arange(plan.irreps_out[own.i_out].mul)
        key = own.i_in1, own.i_in2, ir
        if key not in theirs:
            raise product.error("its paths are not all those into the target")
        path, start = theirs.pop(key)
        if path.mode != "uvu" or path.shape != (len(channels), 1):
            raise product.error("its paths are not all those into the target")
        columns.append(channels + start)
        degrees = plan.irreps_in1[own.i_in1].ir.l, plan.irreps_in2[own.i_in2].ir.l, ir.l
        if sum(degrees) % 2:
            # Some of these couplings have the other sign in e3nn 0.4, which mace-torch pins.
            raise product.error(f"the path {degrees}, whose sum is odd, is not known here")
        factors.append(torch.full(channels.shape, path.path_weight / own.path_weight, dtype=torch.float64))
        rows.setdefault(ir, []).append(channels + copies(results)[path.i_out].start)
    if theirs:
        raise product.error("its paths are not all those into the target")
    return Matched(torch.cat(columns), torch.cat(factors), {ir: torch.cat(found) for ir, found in rows.items()})
