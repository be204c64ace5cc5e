"""Presets of e3frame, and a NequIP of nequip at equal hyperparameters, on the same structures, for ``bench.py``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import yaml
from ase import Atoms
from torch import Tensor

R_MAX, SPECIES, NEIGHBORS = 5.0, ("H", "C", "O"), 12.0


def structures(graphs: int, atoms: int, periodic: bool) -> list[Atoms]:
    """Random atoms, no two closer than 1.1 Å: as dense as a molecule of 15, or in a box at the density of water."""
    rng = np.random.default_rng(0)
    edge = (atoms / 0.1) ** (1 / 3) if periodic else 6.4 * (atoms / 15) ** (1 / 3)
    made = []
    for _ in range(graphs):
        box = Atoms(cell=[edge] * 3, pbc=periodic)
        while len(box) < atoms:
            box.append(rng.choice(SPECIES))
            box.positions[-1] = rng.uniform(0, edge, 3)
            if len(box) > 1 and box.get_distances(-1, range(len(box) - 1), mic=periodic).min() < 1.1:
                del box[-1]
        made.append(box)
    return made


class Step:
    """Training steps and inference of one side, with the optimizer that its own training builds."""

    def __init__(
        self, model: torch.nn.Module, call: Callable[[], tuple[Tensor, Tensor]], optimizer: torch.optim.Optimizer
    ) -> None:
        self.model, self.call, self.optimizer = model, call, optimizer
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
        self.num_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)

    def prepare(self, what: str) -> None:
        """For ``train`` or ``infer``, which are timed."""
        self.model.train(what == "train")
        self.model.requires_grad_(what == "train")

    def train(self) -> None:
        self.optimizer.zero_grad()
        energy, forces = self.call()
        (1e-6 * energy.square().mean() + forces.square().mean()).backward()
        self.optimizer.step()

    def infer(self) -> None:
        self.call()


def e3frame_step(graphs: int, atoms: int, periodic: bool, preset: str = "nequip", channels: int = 32) -> Step:
    """A preset with ``channels`` copies of each irrep of which it has 32."""
    from torch_geometric.data import Batch

    from e3frame.compose import config_folder
    from e3frame.config.optimizers.adam import AdamSpec
    from e3frame.data.pipeline.graphs import make_graph, model_input
    from e3frame.model import ModelSpec
    from e3frame.spec.statistics import Statistics

    text = (config_folder() / "model" / f"{preset}.yaml").read_text(encoding="utf-8").replace("32x", f"{channels}x")
    raw = yaml.safe_load(text) | {"r_max": R_MAX}
    if preset == "nequip":  # there the self-connection depends on the features of the species
        for layer in (raw["layers"]["interactions"]["layers"]["conv"], raw["layers"]["last_conv"]):
            layer["attributes"] = "species"
    zeros = dict.fromkeys(SPECIES, 0.0)
    given = Statistics(species=SPECIES, energy_shift=zeros, energy_scale=1.0, avg_num_neighbors=NEIGHBORS)
    model = ModelSpec.model_validate(raw).resolve(given).build()
    batch = Batch.from_data_list([make_graph(frame, R_MAX) for frame in structures(graphs, atoms, periodic)])
    graph = model_input(batch, torch.float32)

    def call() -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(model.training):
            out = model(graph)
        return out["energy"], out["forces"]

    optimizer = AdamSpec(lr=1e-4).build([{"params": list(model.parameters())}])
    return Step(model, call, optimizer)


def nequip_step(graphs: int, atoms: int, periodic: bool) -> Step:
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    before = torch.get_default_dtype()
    set_global_state()  # float64 among other things, which nequip wants while a model is built
    try:
        model = NequIPGNNModel(
            seed=1,
            model_dtype="float32",
            r_max=R_MAX,
            type_names=list(SPECIES),
            num_layers=3,
            l_max=2,
            parity=False,
            num_features=32,
            type_embed_num_features=32,
            radial_mlp_depth=2,
            radial_mlp_width=64,
            num_bessels=8,
            avg_num_neighbors=NEIGHBORS,
            per_type_energy_scales=1.0,
            per_type_energy_shifts=0.0,
        )
        types, neighbors = ChemicalSpeciesToAtomTypeMapper(list(SPECIES)), NeighborListTransform(r_max=R_MAX)
        frames = [neighbors(types(from_ase(frame))) for frame in structures(graphs, atoms, periodic)]
        batch = AtomicDataDict.batched_from_list(frames)
    finally:
        torch.set_default_dtype(before)

    def call() -> tuple[Tensor, Tensor]:
        out = model(dict(batch))
        return out["total_energy"], out["forces"]

    return Step(model, call, torch.optim.Adam(model.parameters(), lr=1e-4))
