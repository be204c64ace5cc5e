"""Models of mace-torch: ``MACE`` and ``ScaleShiftMACE`` (Batatia et al. 2022, arXiv 2206.07697)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from ase.data import covalent_radii
from torch import Tensor

from e3frame.algebra.irreps import Irrep
from e3frame.convert.archive import Archive
from e3frame.convert.e3nn_weights import linear, normalized, our_linear
from e3frame.convert.family import Converted, Family
from e3frame.convert.mace_interaction import Interaction
from e3frame.convert.modules import Module, NotUnderstood
from e3frame.convert.records import Record, elements, members
from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.words import printable

_SYMBOLS = {number: symbol for symbol, number in ATOMIC_NUMBERS.items()}
_ROUNDING = 1e-6
"""Relative difference of a constant from its value in mace-torch, which a file in float32 has rounded."""
_SCREENING = (0.1818, 0.5099, 0.2802, 0.02817)


class Mace(Family):
    """``MACE`` and ``ScaleShiftMACE``, as ``torch.save`` writes them at the end of a training."""

    kind: ClassVar[str] = "mace"
    program: ClassVar[str] = "mace-torch 0.3.16"
    reads: ClassVar[str] = (
        "MACE and ScaleShiftMACE: the .model file of a training, not a checkpoint, not _compiled.model"
    )
    licence: ClassVar[str] = "MIT"
    hints: ClassVar[dict[str, str]] = {
        "cuequivariance": "mace_cueq_to_e3nn of mace-torch writes a model without cuequivariance",
        "openequivariance": "mace_oeq_to_e3nn of mace-torch writes a model without openequivariance",
    }
    names: ClassVar[tuple[str, ...]] = (
        *("mace.modules.", "e3nn.o3.", "e3nn.nn.", "e3nn.math._normalize_activation.normalize2mom"),
        *("builtins.getattr", "torch._C._VariableFunctionsClass", "torch.tanh", "torch.abs"),
    )

    @classmethod
    def recognizes(cls, archive: Archive) -> bool:
        root = archive.found.root
        if isinstance(root, dict):
            return isinstance(root.get("model"), dict) and "products.0.linear.weight" in root["model"]
        return isinstance(root, Record) and root.name.startswith("mace.modules.")

    def convert(self, archive: Archive) -> tuple[Converted, Module]:
        if isinstance(archive.found.root, dict):
            problem = "a checkpoint of mace-torch does not say what the model is, such as its avg_num_neighbors"
            raise NotUnderstood(problem, "convert the .model file of the same training")
        module = Module(archive, archive.found.root)
        if module.kind not in ("MACE", "ScaleShiftMACE"):
            raise NotUnderstood(f"{printable(module.kind, 60)} is not known, only MACE and ScaleShiftMACE")
        return _Conversion(module, self.head).converted(), module


class _Conversion:
    """Layers and weights of one model, in the order in which they run."""

    def __init__(self, module: Module, head: str | None) -> None:
        self.module = module
        self.layers: dict[str, Any] = {}
        self.weights: dict[str, Tensor] = {}
        self.heads = [str(name) for name in elements(module.attribute("heads", ["Default"]))]
        self.head = self._head(head)
        self.species = [self._symbol(number) for number in module.tensor("atomic_numbers", -1).tolist()]
        self.dtype = str(module.tensor("r_max").dtype).removeprefix("torch.")
        self.r_max = self._constant(module, "r_max")
        self.cutoff: str | None = None

    def converted(self) -> Converted:
        """The whole model."""
        self._require_known_options()
        embedding = self._embedding()
        self._edges()
        interactions, products = self.module.modules("interactions"), self.module.modules("products")
        if not len(interactions) == len(products) == self.module.number("num_interactions") > 0:
            raise self.module.error("as many products as interactions are required", "products")
        features, found = "species", []
        for number, (interaction, product) in enumerate(zip(interactions, products, strict=True), start=1):
            first = embedding if number == 1 else None
            made = Interaction(interaction, product, number, len(self.species), first, self.cutoff).converted(features)
            self.add(made.layers, made.weights)
            features = f"features_{number}"
            found.append(features)
        energies = self._readouts(found)
        if self.module.has("pair_repulsion_fn"):
            self._repulsion()
            energies.append("repulsion")
        if len(energies) > 1:
            self.layers["atomic_energy"] = {"kind": "add", "of": energies}
        spec = {
            "r_max": self.r_max,
            "species": self.species,
            "layers": self.layers,
            "outputs": {
                "energy": {
                    "kind": "sum",
                    "of": "atomic_energy" if len(energies) > 1 else energies[0],
                    "per_species_scale_shift": self._scale_shift(),
                },
                "forces": {"kind": "negative_gradient", "of": "energy"},
            },
        }
        about = {"model": f"{self.module.kind} of {len(interactions)} interactions"}
        if len(self.heads) > 1:
            about["head"] = f"{self.heads[self.head]}, of {', '.join(self.heads)}"
        return Converted(spec, self.weights, self.dtype, about)

    def add(self, layers: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Add layers, with their weights by ``layer.parameter``."""
        self.layers.update(layers)
        self.weights.update({f"layers.{name}": tensor for name, tensor in weights.items()})

    def _head(self, given: str | None) -> int:
        listed = ", ".join(self.heads)
        if given is None:
            if len(self.heads) > 1:
                raise NotUnderstood(f"it has {len(self.heads)} heads: {printable(listed)}", f"head={self.heads[-1]}")
            return 0
        if given not in self.heads:
            raise NotUnderstood(f"no head is named {printable(given, 60)}", f"heads: {printable(listed)}")
        return self.heads.index(given)

    def _symbol(self, number: int) -> str:
        if number not in _SYMBOLS:
            raise self.module.error(f"{number} is no atomic number", "atomic_numbers")
        return _SYMBOLS[number]

    def _require_known_options(self) -> None:
        if self.module.attribute("use_so3", False) is not False:
            raise self.module.error("models without inversion are not known here", "use_so3")
        for name in ("joint_embedding", "embedding_readout"):
            if self.module.has(name):
                raise self.module.error("inputs besides the structure are not known here", name)

    def _embedding(self) -> Tensor:
        """The features of each species; returns them."""
        matrices = linear(self.module.module("node_embedding.linear"))
        (matrix,) = matrices.values()
        if len(matrix) != len(self.species):
            raise self.module.error(f"{len(self.species)} species are required, got {len(matrix)}", "node_embedding")
        layer = {"kind": "species_embedding", "irreps_out": f"{matrix.shape[1]}x0e"}
        self.add({"species": layer}, {"species.weight": matrix})
        return matrix

    def _edges(self) -> None:
        """Harmonics and radial functions of the edges."""
        harmonics = self.module.module("spherical_harmonics", "SphericalHarmonics")
        if harmonics.attribute("normalize") is not True or harmonics.attribute("normalization") != "component":
            raise harmonics.error("normalize: true and normalization: component are required")
        irreps = self.module.modules("interactions")[0].irreps("edge_attrs_irreps")
        self.layers["edge_vectors"] = {"kind": "edge_vectors"}
        self.layers["edge_sh"] = {"kind": "spherical_harmonics", "irreps_out": str(irreps)}
        embedding = self.module.module("radial_embedding", "RadialEmbeddingBlock")
        cutoff = embedding.module("cutoff_fn", "PolynomialCutoff")
        self._require_close(cutoff, "r_max", self.r_max)
        radial = {"kind": "radial_basis", **self._basis(embedding.module("bessel_fn"))}
        envelope = {"kind": "polynomial", "p": int(cutoff.number("p"))}
        radial["envelope"] = envelope
        if embedding.attribute("apply_cutoff", True) is not True:
            radial["envelope"], self.cutoff = {"kind": "none"}, "cutoff"
            self.layers["cutoff"] = {"kind": "radial_basis", "basis": "constant", "num_basis": 1, "envelope": envelope}
        if embedding.has("distance_transform"):
            radial["transform"] = self._transform(embedding.module("distance_transform"))
        self.layers["radial"] = radial

    def _basis(self, basis: Module) -> dict[str, Any]:
        """The radial functions."""
        if basis.kind == "BesselBasis":
            self._require_close(basis, "r_max", self.r_max)
            self._require_close(basis, "prefactor", (2 / self.r_max) ** 0.5)
            orders = basis.tensor("bessel_weights", -1).double() * self.r_max / torch.pi
            whole = torch.arange(1, len(orders) + 1, dtype=torch.float64)
            if torch.allclose(orders, whole, rtol=_ROUNDING, atol=0):
                return {"basis": "bessel", "num_basis": len(orders)}
            self.weights["layers.radial.basis.order"] = orders
            return {"basis": "bessel", "num_basis": len(orders), "trainable": True}
        if basis.kind == "GaussianBasis":
            centers = basis.tensor("gaussian_weights", -1).double()
            even = torch.linspace(0, self.r_max, len(centers), dtype=torch.float64)
            if len(centers) < 2 or not torch.allclose(centers, even, rtol=_ROUNDING, atol=_ROUNDING):
                raise basis.error("evenly spaced centers are required", "gaussian_weights")
            self._require_close(basis, "coeff", -0.5 * ((len(centers) - 1) / self.r_max) ** 2)
            return {"basis": "gaussian", "num_basis": len(centers)}
        if basis.kind == "ChebychevBasis":
            # mace-torch takes them of the length in Å, or of a transform with values from 0 to 1.
            return {"basis": {"kind": "chebyshev", "scale": 1.0}, "num_basis": basis.tensor("n").numel()}
        raise basis.error(f"{printable(basis.kind, 60)} is not known here")

    def _transform(self, transform: Module) -> dict[str, Any]:
        """The transform of the distance."""
        self._require_radii(transform)
        if transform.kind == "AgnesiTransform":
            return {"kind": "agnesi", **{name: self._constant(transform, name) for name in ("a", "p", "q")}}
        if transform.kind == "SoftTransform":
            return {"kind": "soft", "steepness": self._constant(transform, "alpha")}
        raise transform.error(f"{printable(transform.kind, 60)} is not known here")

    def _readouts(self, features: list[str]) -> list[str]:
        """Energies that are read from the features; returns their names."""
        readouts = self.module.modules("readouts")
        if len(readouts) not in (1, len(features)):
            raise self.module.error("one readout for each interaction is required, or one for the last", "readouts")
        read = features if len(readouts) > 1 else features[-1:]
        names = []
        for number, (readout, name) in enumerate(zip(readouts, read, strict=True), start=1):
            made = f"energy_{number}"
            names.append(made)
            if readout.kind == "LinearReadoutBlock":
                self._linear_readout(readout, name, made)
            elif readout.kind == "NonLinearReadoutBlock":
                self._mlp_readout(readout, name, made)
            else:
                raise readout.error(f"{printable(readout.kind, 60)} is not known here")
        return names

    def _linear_readout(self, readout: Module, of: str, name: str) -> None:
        module = readout.module("linear", "Linear")
        matrices = {ir: matrix[:, self.head, None] for ir, matrix in linear(module).items()}
        weights = our_linear(matrices, module.irreps("irreps_in"), "0e")
        self.add({name: {"kind": "linear", "of": of, "irreps_out": "0e"}}, {f"{name}.weight": weights})

    def _mlp_readout(self, readout: Module, of: str, name: str) -> None:
        """Two linear maps of scalars with an activation between them. Each head has units of its own."""
        first, last = readout.module("linear_1", "Linear"), readout.module("linear_2", "Linear")
        irreps = first.irreps("irreps_in")
        if not irreps.is_scalar():
            raise first.error(f"a readout of scalars is required, got {irreps}")
        (one,), (two,) = linear(first).values(), linear(last).values()
        units = one.shape[1] // len(self.heads)
        own = slice(self.head * units, (self.head + 1) * units)
        one, two = one[:, own], two[own, self.head, None]
        acts = [each for _, each in members(readout.module("non_linearity.acts").record, "_modules")]
        if acts in ([], [None]):
            weights = our_linear({Irrep("0e"): one @ two}, irreps, "0e")
            self.add({name: {"kind": "linear", "of": of, "irreps_out": "0e"}}, {f"{name}.weight": weights})
            return
        act, factor = normalized(readout.module("non_linearity.acts.0"))
        layer = {"kind": "mlp", "of": of, "hidden": [units], "irreps_out": "0e", "act": act}
        # The layers of an mlp divide by the root of the number of their inputs.
        layers = {"layer0": one * len(one) ** 0.5, "layer1": two * factor * units**0.5}
        self.add({name: layer}, {f"{name}.{key}.weight": tensor for key, tensor in layers.items()})

    def _repulsion(self) -> None:
        """The energy of screened nuclei."""
        zbl = self.module.module("pair_repulsion_fn", "ZBLBasis")
        self._require_radii(zbl)
        if not torch.allclose(zbl.tensor("c", 4).double(), torch.tensor(_SCREENING).double(), rtol=_ROUNDING, atol=0):
            raise zbl.error("other coefficients of the screening are not known here", "c")
        longest = 2 * max(covalent_radii[ATOMIC_NUMBERS[symbol]] for symbol in self.species)
        if longest > self.r_max:
            raise zbl.error(f"it ends at up to {longest:g} Å, beyond r_max, which is not known here")
        constants = {"a_prefactor": self._constant(zbl, "a_prefactor"), "a_exponent": self._constant(zbl, "a_exp")}
        self.layers["repulsion"] = {"kind": "zbl", "p": int(zbl.number("p")), **constants}

    def _scale_shift(self) -> dict[str, Any]:
        """Scale, and shift with the energies of isolated atoms."""
        energies = (
            self.module.module("atomic_energies_fn").tensor("atomic_energies").double().reshape(-1, len(self.species))
        )
        if len(energies) != len(self.heads):
            raise self.module.error(f"{len(self.heads)} rows of energies are required", "atomic_energies_fn")
        scale, shift = 1.0, 0.0
        if self.module.has("scale_shift"):
            block = self.module.module("scale_shift", "ScaleShiftBlock")
            scale, shift = (float(self._per_head(block, name)) for name in ("scale", "shift"))
        own = energies[self.head] + shift
        return {"scale": scale, "shift": dict(zip(self.species, own.tolist(), strict=True))}

    def _per_head(self, block: Module, name: str) -> Tensor:
        found = block.tensor(name).double().reshape(-1)
        if len(found) not in (1, len(self.heads)):
            raise block.error(f"one number for each of {len(self.heads)} heads is required, got {len(found)}", name)
        return found[self.head if len(found) > 1 else 0]

    def _constant(self, module: Module, name: str) -> float:
        """A constant; as it was before it was rounded, in a file in float32."""
        given = module.number(name)
        return given if self.dtype == "float64" else float(f"{given:.7g}")

    def _require_close(self, module: Module, name: str, value: float) -> None:
        """Raise NotUnderstood if a constant is not what it is in mace-torch."""
        given = module.number(name)
        if abs(given - value) > _ROUNDING * abs(value):
            raise module.error(f"{value:g} is required, got {given:g}", name)

    def _require_radii(self, module: Module) -> None:
        """Raise NotUnderstood if the covalent radii of the species are not those of ASE."""
        radii = module.tensor("covalent_radii", -1).double()
        for symbol in self.species:
            number = ATOMIC_NUMBERS[symbol]
            if number >= len(radii) or abs(float(radii[number]) - covalent_radii[number]) > _ROUNDING:
                raise module.error(f"the radius of {symbol} is not that of ASE", "covalent_radii")
