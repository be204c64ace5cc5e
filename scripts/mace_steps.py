"""A MACE of mace-torch in an environment of its own, at the command of ``bench_mace.py``.

Reads one JSON object a line and answers with one. ``{"make": file, "channels": 32, "mode": "plain"}`` builds a model
for the structures of an .npz file; the answer is its number of parameters. ``{"run": "train"}`` or ``"infer"`` runs a
step; the answer is its milliseconds. The answer to ``{"peak": "train"}`` is the MiB of some steps. What cannot run
answers with the reason.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import mace  # noqa: F401  # before e3nn, whose files it allows torch to load
import numpy as np
import torch
from ase import Atoms
from e3nn import o3
from mace import data, modules
from mace.tools import AtomicNumberTable, torch_geometric
from mace.tools.compile import prepare
from peak_memory import peak_of_steps


class Steps:
    """The model of the preset ``mace`` of e3frame at its size, or with more channels, in float32."""

    def __init__(self, make: str, channels: int, mode: str) -> None:
        with np.load(make) as arrays:
            given = {name: arrays[name] for name in arrays.files}
        numbers, r_max = given["species"].tolist(), float(given["r_max"])
        table = AtomicNumberTable(numbers)
        graphs = []
        for n in range(int(given["graphs"])):
            atoms = Atoms(given[f"z{n}"], given[f"pos{n}"], cell=given[f"cell{n}"], pbc=given[f"pbc{n}"])
            graphs.append(data.AtomicData.from_config(data.config_from_atoms(atoms), z_table=table, cutoff=r_max))
        self.batch = next(iter(torch_geometric.dataloader.DataLoader(graphs, len(graphs)))).to_dict()
        self.batch["positions"].requires_grad_()  # which a compiled model does not do

        def build() -> torch.nn.Module:
            block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
            return modules.ScaleShiftMACE(
                atomic_inter_scale=1.0,
                atomic_inter_shift=0.0,
                r_max=r_max,
                num_bessel=8,
                num_polynomial_cutoff=5,
                max_ell=3,
                interaction_cls=block,
                interaction_cls_first=block,
                num_interactions=2,
                num_elements=len(numbers),
                hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"),
                MLP_irreps=o3.Irreps("16x0e"),
                gate=torch.nn.functional.silu,
                atomic_energies=np.zeros(len(numbers)),
                avg_num_neighbors=float(given["neighbors"]),
                atomic_numbers=numbers,
                correlation=3,
                radial_MLP=[64, 64, 64],
            )

        self.model = build() if mode == "plain" else prepare(build)()
        self.call = self.model if mode == "plain" else torch.compile(self.model)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-4)

    def run(self, what: str) -> None:
        training = what == "train"
        for parameter in self.parameters:
            parameter.requires_grad_(training)
        if training:
            self.optimizer.zero_grad()
        # A compiled model needs training=True for forces, as mace-torch's calculator passes it.
        out = self.call(dict(self.batch), training=training or self.call is not self.model, compute_force=True)
        if training:
            (1e-6 * out["energy"].square().mean() + out["forces"].square().mean()).backward()
            self.optimizer.step()


def answer(steps: Steps | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what a request asks for."""
    assert steps is not None, "make comes first"
    if "peak" in wanted:
        return {"MiB": peak_of_steps(lambda: steps.run(wanted["peak"]))}
    begin = time.perf_counter()
    steps.run(wanted["run"])
    return {"milliseconds": 1e3 * (time.perf_counter() - begin)}


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    steps = None
    for line in sys.stdin:
        wanted = json.loads(line)
        try:
            if "make" in wanted:
                steps = Steps(**wanted)
                found: dict[str, Any] = {"parameters": sum(p.numel() for p in steps.parameters)}
            else:
                found = answer(steps, wanted)
        except Exception as error:  # whatever a compiler raises; the one who asked says so
            found = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
