"""Models of SevenNet: checkpoints of ``sevenn`` (Park et al. 2024, https://doi.org/10.1021/acs.jctc.4c00190)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from e3frame.algebra.activations import gate_input
from e3frame.algebra.interaction import InteractionPlan, plan_interaction
from e3frame.algebra.irreps import Irrep, Irreps
from e3frame.algebra.paths import plan_linear
from e3frame.algebra.wigner import wigner_3j
from e3frame.convert.archive import Archive
from e3frame.convert.e3nn_weights import our_linear
from e3frame.convert.family import Converted, Family
from e3frame.convert.modules import NotUnderstood, irreps_of
from e3frame.convert.states import Settings, State
from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.limits import DEGREE

_SORTED_SINCE = (0, 11)
"""The version since which the weights of a product are sorted by the irreps of their paths."""
_RENAMED = {  # before version 0.9.1, in this order
    "EdgeEmbedding": "edge_embedding",
    " ": "_",
    "denumerator": "denominator",
    "reducing_nn_": "reduce_",
}
_SCALAR = Irrep("0e")


class SevenNet(Family):
    """Checkpoints of trainings, and the pretrained ones in the wheel of sevenn."""

    kind: ClassVar[str] = "sevennet"
    program: ClassVar[str] = "sevenn 0.13.0"
    reads: ClassVar[str] = "checkpoints with is_parity: false and one modality: SevenNet-0 and l3i5 of its wheel"
    licence: ClassVar[str] = "MIT"
    names: ClassVar[tuple[str, ...]] = ("builtins.getattr",)

    @classmethod
    def recognizes(cls, archive: Archive) -> bool:
        root = archive.found.root
        return isinstance(root, dict) and isinstance(root.get("config"), dict) and "model_state_dict" in root

    def convert(self, archive: Archive) -> tuple[Converted, State]:
        root = archive.found.root
        if self.head is not None:
            raise NotUnderstood("models of SevenNet have no heads")
        held = {}
        for name, each in root["model_state_dict"].items():
            for old, new in _RENAMED.items():
                name = name.replace(old, new) if isinstance(name, str) else ""
            held[name] = each
        state = State(archive, held, follows=("output_mask",))
        return _Conversion(state, Settings(root["config"], "config")).converted(), state


class _Conversion:
    """Layers and weights of one model, in the order in which they run."""

    def __init__(self, state: State, config: Settings) -> None:
        self.state, self.config = state, config
        self._require_known_options()
        self.species = config.texts("chemical_species")
        self.r_max = config.number("cutoff")
        self.irreps = [irreps_of(text, "config.irreps_manual") for text in config.texts("irreps_manual")]
        lmax = config.require("lmax", *range(DEGREE + 1))
        self.harmonics = Irreps([(1, (degree, 1)) for degree in range(lmax + 1)])
        self.version = tuple(map(int, re.findall(r"\d+", str(config.values.get("version", "0")))[:2]))
        self.layers: dict[str, Any] = {}
        self.weights: dict[str, Tensor] = {}

    def converted(self) -> Converted:
        """The whole model."""
        embedding = self._embedding()
        self._edges()
        features = "species"
        for t in range(len(self.irreps) - 1):
            self._interaction(t, features, embedding if t == 0 else None)
            features = f"features_{t + 1}"
        hidden = Irreps(f"{self.irreps[-1].dim // 2}x0e")
        self._linear("reduced", features, "reduce_input_to_hidden", self.irreps[-1], hidden)
        self._linear("readout", "reduced", "reduce_hidden_to_energy", hidden, Irreps("0e"))
        spec = {
            "symmetry": "SO(3)",
            "r_max": self.r_max,
            "species": self.species,
            "layers": self.layers,
            "outputs": {
                "energy": {"kind": "sum", "of": "readout", "per_species_scale_shift": self._scale_shift()},
                "forces": {"kind": "negative_gradient", "of": "energy"},
            },
        }
        version = self.config.values.get("version")
        about = {"model": f"SevenNet of {len(self.irreps) - 1} interactions, trained with sevenn {version}"}
        about["symmetry"] = "rotations, not inversion: mirror images may differ in energy"
        return Converted(spec, self.weights, self.state.dtype, about)

    def _require_known_options(self) -> None:
        config = self.config
        config.require("_model_type", "E3_equivariant_model")
        config.require("interaction_type", "nequip", default="nequip")
        config.require("self_connection_type", "linear")
        config.require("act_radial", "silu")
        for key in ("act_scalar", "act_gate"):
            config.inner(key).require("e", "silu")
        for key in ("is_parity", "use_bias_in_linear", "readout_as_fcn"):
            config.require(key, False)
        config.require("use_modality", False, default=False)
        for key in ("lmax_edge", "lmax_node"):
            config.require(key, -1, default=-1)

    def _add(self, name: str, layer: dict[str, Any], **weights: Tensor) -> None:
        self.layers[name] = layer
        self.weights.update({f"layers.{name}.{key}": tensor for key, tensor in weights.items()})

    def _embedding(self) -> Tensor:
        """The features of each species; returns them."""
        species, channels = len(self.species), self.irreps[0].dim
        unknown = [symbol for symbol in self.species if symbol not in ATOMIC_NUMBERS]
        if unknown or not self.irreps[0].is_scalar():
            raise NotUnderstood("config.chemical_species: symbols of elements are required, with even scalars for each")
        rows = self.state.tensor("onehot_to_feature_x.linear.weight", species * channels).double()
        rows = rows.reshape(species, channels) * species**-0.5
        self._add("species", {"kind": "species_embedding", "irreps_out": str(self.irreps[0])}, weight=rows)
        return rows

    def _edges(self) -> None:
        """Harmonics and radial functions of the edges."""
        normalize = self.config.require("_normalize_sph", True, False, default=False)
        self.layers["edge_vectors"] = {"kind": "edge_vectors"}
        harmonics = {"kind": "spherical_harmonics", "irreps_out": str(self.harmonics)}
        self.layers["edge_sh"] = harmonics | ({} if normalize else {"normalize": False})
        self.config.inner("radial_basis").require("radial_basis_name", "bessel")
        orders = self.state.tensor("edge_embedding.basis_function.coeffs").double() * self.r_max / torch.pi
        cutoff = self.config.inner("cutoff_function")
        if cutoff.require("cutoff_function_name", "XPLOR", "poly_cut") == "XPLOR":
            envelope: dict[str, Any] = {"kind": "xplor", "start": cutoff.number("cutoff_on")}
        else:
            envelope = {"kind": "polynomial", "p": int(cutoff.number("poly_cut_p_value"))}
        layer = {"kind": "radial_basis", "num_basis": len(orders), "trainable": True, "envelope": envelope}
        self._add("radial", layer, **{"basis.order": orders})
        self.num_basis = len(orders)

    def _interaction(self, t: int, of: str, embedding: Tensor | None) -> None:
        """One round of message passing; the features after it are ``features_<t + 1>``."""
        n, irreps_in, irreps_out = t + 1, self.irreps[t], self.irreps[t + 1]
        wanted = gate_input(irreps_out)
        self._message(t, of, wanted)
        own = f"{t}_self_connection_intro"
        if embedding is None:
            self._linear(f"kept_{n}", of, own, irreps_in, wanted)
            self.layers[f"sum_{n}"] = {"kind": "add", "of": [f"message_{n}", f"kept_{n}"]}
        else:
            self._with_species(n, own, embedding, wanted)
        self.layers[f"features_{n}"] = {"kind": "gate", "of": f"sum_{n}", "scalars": "silu", "gates": "silu"}

    def _message(self, t: int, of: str, wanted: Irreps) -> None:
        irreps_in, state, prefix = self.irreps[t], self.state, f"{t}_convolution"
        plan = plan_interaction(irreps_in, self.harmonics, wanted, self.num_basis, ())
        hidden = [int(width) for width in self.config.values.get("weight_nn_hidden_neurons", ())]
        sizes = [self.num_basis, *hidden, plan.product.weight_numel]
        networks = [
            state.tensor(f"{prefix}.weight_nn.layer{k}.weight", a, b).double()
            for k, (a, b) in enumerate(pairwise(sizes))
        ]
        networks[0] = networks[0] * (2 / self.r_max) ** 0.5  # their functions have the prefactor 2 / r_max
        networks[-1] = networks[-1][:, self._columns(plan)] * self._signs(prefix, plan)
        denominator = float(state.tensor(f"{prefix}.denominator", 1))
        first, last = plan.linear_in.weight_numel, plan.linear_out.weight_numel
        weights = {f"radial.layer{k}.weight": each for k, each in enumerate(networks)}
        weights["linear_1.weight"] = state.tensor(f"{t}_self_interaction_1.linear.weight", first)
        # Ours divides by the root of the number of neighbours, sevenn by the denominator.
        mixing = state.tensor(f"{t}_self_interaction_2.linear.weight", last).double()
        weights["linear_2.weight"] = mixing * denominator**-0.5
        layer = {
            "kind": "convolution",
            "of": of,
            "irreps_out": str(wanted),
            "radial_mlp": hidden,
            "avg_num_neighbors": denominator,
            "self_connection": False,
        }
        self._add(f"message_{t + 1}", layer, **weights)

    def _columns(self, plan: InteractionPlan) -> Tensor:
        """For each of our weights of a product, the number of theirs."""
        paths = plan.product.instructions
        order = list(range(len(paths)))
        if self.version < _SORTED_SINCE:  # as they come from the loops over both inputs; ours are sorted by result
            results = [plan.product.irreps_out[path.i_out].ir for path in paths]
            order.sort(key=lambda k: (paths[k].i_in1, paths[k].i_in2, results[k].l))
        starts, start = {}, 0
        for k in order:
            starts[k] = start
            start += paths[k].path_shape[0]
        return torch.cat([torch.arange(path.path_shape[0]) + starts[k] for k, path in enumerate(paths)])

    def _signs(self, prefix: str, plan: InteractionPlan) -> Tensor:
        """The sign of each weight: the couplings in the file, of an older e3nn, may be the negative of ours."""
        found = []
        for path in plan.product.instructions:
            degrees = (
                plan.product.irreps_in1[path.i_in1].ir.l,
                plan.product.irreps_in2[path.i_in2].ir.l,
                plan.product.irreps_out[path.i_out].ir.l,
            )
            sign = 1.0
            if 0 not in degrees:
                name = "_".join(map(str, degrees))
                shape = tuple(2 * degree + 1 for degree in degrees)
                theirs = self.state.tensor(f"{prefix}.convolution._compiled_main_left_right._w3j_{name}", *shape)
                ours = wigner_3j(*degrees)
                sign = float(np.sign((theirs.double().numpy() * ours).sum()))
                if not np.allclose(theirs.numpy(), sign * ours, atol=1e-5):
                    raise NotUnderstood(f"{prefix}: its coupling of the degrees {degrees} is not known")
            found.append(torch.full((path.path_shape[0],), sign, dtype=torch.float64))
        return torch.cat(found)

    def _linear(self, name: str, of: str, theirs: str, irreps_in: Irreps, irreps_out: Irreps) -> None:
        """A linear map; its weights are laid out and normalized as ours."""
        weights = self.state.tensor(f"{theirs}.linear.weight", plan_linear(irreps_in, irreps_out).weight_numel)
        self._add(name, {"kind": "linear", "of": of, "irreps_out": str(irreps_out)}, weight=weights)

    def _with_species(self, n: int, theirs: str, embedding: Tensor, wanted: Irreps) -> None:
        """Add a linear map of the embedding to the message: a row of scalars for each species."""
        channels = embedding.shape[1]
        scalars = wanted.count(_SCALAR)
        matrix = self.state.tensor(f"{theirs}.linear.weight", channels * scalars).double().reshape(channels, scalars)
        rows = embedding @ matrix * channels**-0.5
        self._add(f"kept_{n}", {"kind": "species_embedding", "irreps_out": f"{scalars}x0e"}, weight=rows)
        self.layers[f"parts_{n}"] = {"kind": "concatenate", "of": [f"message_{n}", f"kept_{n}"]}
        same = {ir: torch.eye(mul, dtype=torch.float64) for mul, ir in wanted}
        same[_SCALAR] = torch.cat([same[_SCALAR], same[_SCALAR]])
        weights = our_linear(same, wanted + Irreps(f"{scalars}x0e"), wanted)
        self._add(f"sum_{n}", {"kind": "linear", "of": f"parts_{n}", "irreps_out": str(wanted)}, weight=weights)

    def _scale_shift(self) -> dict[str, Any]:
        found = {}
        for name in ("scale", "shift"):
            numbers = self.state.tensor(f"rescale_atomic_energy.{name}").double().reshape(-1).tolist()
            if len(numbers) not in (1, len(self.species)):
                raise NotUnderstood(f"rescale_atomic_energy.{name}: one number for each species is required")
            found[name] = dict(zip(self.species, numbers * (len(self.species) // len(numbers)), strict=True))
        return found
