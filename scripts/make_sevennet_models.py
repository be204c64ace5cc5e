"""Make the small models of SevenNet with which its conversion is tested: ``tests/convert/sevennet.tar.xz``.

It runs in an environment of its own:

    python -m venv sevenn && sevenn/bin/pip install sevenn==0.13.0
    OMP_NUM_THREADS=1 sevenn/bin/python scripts/make_sevennet_models.py

Every model has random weights in float64 and is saved as a checkpoint. With it go energies (eV), forces (eV/Å) and
stresses (eV/Å^3) of a molecule and of a sheared periodic cell, from sevenn's own calculator in float64. ``old`` is
``xplor`` as versions before 0.11 with an older e3nn would have saved it: other names, another order of weights, other
signs of couplings.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import sevenn.util
import torch
from ase import Atoms
from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
from sevenn.calculator import SevenNetCalculator
from sevenn.model_build import build_E3_equivariant_model
from sevenn.util import chemical_species_preprocess

TARGET = Path(__file__).resolve().parents[1] / "tests" / "convert" / "sevennet.tar.xz"
DATE = 1_700_000_000
SPECIES = ["H", "O", "Na"]

MODELS: dict[str, dict[str, Any]] = {
    "xplor": {
        "irreps_manual": ["4x0e", "4x0e+2x1e+3x2e", "4x0e+2x1e+2x2e", "4x0e"],
        "lmax": 2,
        "cutoff_function": {"cutoff_function_name": "XPLOR", "cutoff_on": 2.8},
    },
    "polynomial": {
        "irreps_manual": ["2x0e", "2x0e+2x1e+1x2e+1x3e", "2x0e"],
        "lmax": 3,
        "cutoff_function": {"cutoff_function_name": "poly_cut", "poly_cut_p_value": 5},
        "_normalize_sph": False,
    },
}


def make_model(name: str, seed: int) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A model with random weights, and its config."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    given = MODELS[name]
    layers = len(given["irreps_manual"]) - 1
    config = {
        **DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG,
        **chemical_species_preprocess(SPECIES),
        "version": "0.13.0",
        "_model_type": "E3_equivariant_model",
        "cutoff": 3.6,
        "is_parity": False,
        "self_connection_type": "linear",
        "num_convolution_layer": layers,
        "radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": 4},
        "weight_nn_hidden_neurons": [5, 6],
        "conv_denominator": [float(d) for d in rng.uniform(2, 6, layers)],
        "shift": [float(e) for e in rng.uniform(-1, 1, len(SPECIES))],
        "scale": 0.8,
        **given,
    }
    model = build_E3_equivariant_model(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.05 * torch.randn_like(parameter))
    return model, config


def structures(seed: int) -> list[Atoms]:
    """A cluster and a sheared periodic cell that is smaller than the cutoff's sphere."""
    rng = np.random.default_rng(100 + seed)
    grid = np.array([[x, y, z] for x in (0.0, 1.6) for y in (0.0, 1.7) for z in (0.0, 1.8)])[:6]
    cluster = Atoms(["H", "O", "Na"] * 2, grid + rng.normal(0, 0.15, grid.shape))
    crystal = Atoms("HONaO", cell=[[3.1, 0.2, 0.0], [0.4, 3.3, 0.3], [-0.3, 0.1, 3.6]], pbc=True)
    crystal.set_scaled_positions([[0.0, 0.0, 0.0], [0.5, 0.5, 0.03], [0.5, 0.02, 0.5], [0.01, 0.5, 0.5]])
    crystal.rattle(0.1, seed=seed)
    return [cluster, crystal]


def references(model: torch.nn.Module, atoms: Atoms) -> dict[str, Any]:
    """What sevenn's calculator gives for a structure."""
    atoms.calc = SevenNetCalculator(model, file_type="model_instance", device="cpu", sevennet_config={})
    values = {"energy": float(atoms.get_potential_energy()), "forces": atoms.get_forces().tolist()}
    periodic = bool(atoms.pbc.all())
    if periodic:
        values["stress"] = atoms.get_stress(voigt=False).tolist()
    cell = atoms.cell.tolist() if periodic else None
    return {"numbers": atoms.numbers.tolist(), "positions": atoms.positions.tolist(), "cell": cell, "float64": values}


def saved(state: dict[str, Any], config: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model_state_dict": state, "config": config, "epoch": 1}, buffer)
    return buffer.getvalue()


def aged(model: torch.nn.Module, state: dict[str, Any], config: dict[str, Any]) -> bytes:
    """The same model as an older version would have saved it."""
    state = dict(state)
    for name, module in model._modules.items():
        if not name.endswith("_convolution"):
            continue
        last = f"{name}.weight_nn.layer{len(config['weight_nn_hidden_neurons'])}.weight"
        product = module.convolution
        sizes = [ins.path_shape[0] for ins in product.instructions]
        blocks = list(state[last].split(sizes, dim=1))
        for k, ins in enumerate(product.instructions):
            terms = product.irreps_in1[ins.i_in1], product.irreps_in2[ins.i_in2], product.irreps_out[ins.i_out]
            if sorted(term.ir.l for term in terms) == [1, 2, 2]:
                blocks[k] = -blocks[k]
        by_result = {ins.i_out: block for ins, block in zip(product.instructions, blocks, strict=True)}
        state[last] = torch.cat([by_result[ins[2]] for ins in module._instructions_before_sort], dim=1)
        for key in [key for key in state if key.startswith(name) and key[-5:] in ("1_2_2", "2_1_2", "2_2_1")]:
            state[key] = -state[key]
    renamed = {"_convolution.denominator": " convolution.denumerator", "edge_embedding": "EdgeEmbedding"}
    renamed |= {"_self_connection_intro": " self connection intro", "_self_interaction_2": " self interaction 2"}
    renamed |= {"reduce_input_to_hidden": "reducing nn input to hidden", "rescale_atomic": "rescale atomic"}
    renamed |= {"reduce_hidden_to_energy": "reducing nn hidden to energy", "_convolution.": " convolution."}
    for old, new in renamed.items():
        state = {key.replace(old, new): value for key, value in state.items()}
    return saved(state, {**config, "version": "0.9.1"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET)
    out = parser.parse_args().out
    torch.set_default_dtype(torch.float64)
    # Else positions and one-hot vectors are float32.
    sevenn.util.dtype_correct.__defaults__ = (torch.float64, torch.int64)
    torch.Tensor.float = torch.Tensor.double
    files: dict[str, bytes] = {}
    known: dict[str, Any] = {}
    for seed, name in enumerate(MODELS):
        model, config = make_model(name, seed)
        state = {key: value.clone() for key, value in model.state_dict().items()}
        known[name] = [references(model, atoms) for atoms in structures(seed)]
        files[f"{name}.pth"] = saved(state, config)
        if name == "xplor":
            known["old"], files["old.pth"] = known[name], aged(model, state, config)
        print(f"{name}: {len(files[f'{name}.pth']):,} bytes, {known[name][0]['float64']['energy']:.3f} eV")
    files["references.json"] = json.dumps(known, indent=1).encode()
    with tarfile.open(out, "w:xz", preset=9) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), DATE
            archive.addfile(entry, io.BytesIO(content))
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
