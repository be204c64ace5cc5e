"""Make the small models of mace-torch with which its conversion is tested: ``tests/convert/mace.tar.xz``.

mace-torch pins an old e3nn, so this runs in an environment of its own:

    python -m venv mace && mace/bin/pip install mace-torch==0.3.16
    OMP_NUM_THREADS=1 mace/bin/python scripts/make_mace_models.py

Every model has random weights, moved by a few steps of Adam, and is saved as ``torch.save`` saves it in a training.
With it go energies (eV), forces (eV/Å) and stresses (eV/Å^3) of a molecule and of a sheared periodic cell, from
mace-torch's own calculator in float64 and float32. The compiled code that e3nn keeps in such files, most of their
bytes, is left in the first one alone.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

warnings.filterwarnings("ignore")  # of old e3nn on new torch

from mace import modules  # noqa: E402, I001  (first, as it allows e3nn to load its constants)
from mace.calculators import MACECalculator  # noqa: E402
from e3nn import o3  # noqa: E402
from e3nn.util.codegen import CodeGenMixin  # noqa: E402

TARGET = Path(__file__).resolve().parents[1] / "tests" / "convert" / "mace.tar.xz"
DATE = 1_700_000_000

RESIDUAL, AGNOSTIC = "RealAgnosticResidualInteractionBlock", "RealAgnosticInteractionBlock"
DENSITY, DENSITY_RESIDUAL = "RealAgnosticDensityInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"
HYDROGEN, CARBON, NITROGEN, OXYGEN, COPPER = 1, 6, 7, 8, 29

MODELS: dict[str, dict[str, Any]] = {
    "scalars": {"hidden": "2x0e", "max_ell": 2},
    "vectors": {"hidden": "2x0e+2x1o", "max_ell": 3, "elements": [HYDROGEN, CARBON, OXYGEN], "zbl": True},
    "tensors": {"hidden": "2x0e+2x1o+2x2e", "max_ell": 2, "correlation": 2, "heads": ["Default"]},
    "tensors_3": {"hidden": "2x0e+2x1o+2x2e", "max_ell": 2, "first": AGNOSTIC, "elements": [COPPER, OXYGEN]},
    "mace": {"cls": "MACE", "hidden": "2x0e+2x1o", "max_ell": 2, "correlation": 2, "first": AGNOSTIC},
    "mace_zbl": {"cls": "MACE", "hidden": "3x0e", "max_ell": 1, "first": AGNOSTIC, "zbl": True, "interactions": 1},
    "density": {
        **{"hidden": "2x0e+2x1o", "max_ell": 2, "correlation": 2, "first": DENSITY, "interaction": DENSITY_RESIDUAL},
        **{"zbl": True, "transform": "Agnesi", "elements": [HYDROGEN, NITROGEN, OXYGEN]},
    },
    "deep": {
        **{"hidden": "2x0e+2x1o", "max_ell": 1, "correlation": [2, 3, 1], "interactions": 3, "gate": "tanh"},
        **{"transform": "Soft", "radial": "gaussian", "first": DENSITY_RESIDUAL},
    },
    "single": {"hidden": "2x0e+2x1o", "max_ell": 2, "correlation": 2, "dtype": "float32", "zbl": True},
    "chebyshev": {
        **{"hidden": "2x0e+2x1o", "max_ell": 1, "correlation": 2, "radial": "chebyshev", "transform": "Agnesi"},
        **{"first": DENSITY, "apply_cutoff": False, "use_agnostic_product": True, "use_last_readout_only": True},
    },
    "quartic": {"hidden": "2x0e+2x1o", "max_ell": 1, "correlation": 4, "edge_irreps": "3x0e+3x1o", "gate": "None"},
    "heads": {"hidden": "2x0e+2x1o", "max_ell": 1, "correlation": 2, "heads": ["low", "high"]},
}

OPTIONS = ("apply_cutoff", "use_agnostic_product", "use_last_readout_only")


def make_model(name: str, seed: int) -> torch.nn.Module:
    """A model with random weights after a few steps of a training on random energies."""
    given = MODELS[name]
    elements, heads = given.get("elements", [HYDROGEN, OXYGEN]), given.get("heads", ["Default"])
    torch.set_default_dtype(getattr(torch, given.get("dtype", "float64")))
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    interaction = given.get("interaction", RESIDUAL)
    energies = rng.uniform(-1, 1, (len(heads), len(elements)))
    options = {
        "r_max": 3.5,
        "num_bessel": 4,
        "num_polynomial_cutoff": 5,
        "max_ell": given["max_ell"],
        "interaction_cls": modules.interaction_classes[interaction],
        "interaction_cls_first": modules.interaction_classes[given.get("first", interaction)],
        "num_interactions": given.get("interactions", 2),
        "num_elements": len(elements),
        "hidden_irreps": o3.Irreps(given["hidden"]),
        "MLP_irreps": o3.Irreps("3x0e"),
        "atomic_energies": energies if len(heads) > 1 else energies[0],
        "avg_num_neighbors": float(rng.uniform(3, 9)),
        "atomic_numbers": sorted(elements),
        "correlation": given.get("correlation", 3),
        "gate": modules.gate_dict[given.get("gate", "silu")],
        "pair_repulsion": given.get("zbl", False),
        "distance_transform": given.get("transform", "None"),
        "radial_MLP": [5, 6],
        "radial_type": given.get("radial", "bessel"),
        "heads": heads,
        "edge_irreps": o3.Irreps(given["edge_irreps"]) if "edge_irreps" in given else None,
        **{name: given[name] for name in OPTIONS if name in given},
    }
    if given.get("cls") == "MACE":
        return modules.MACE(**options)
    scale, shift = rng.uniform(0.5, 1.5, len(heads)), rng.uniform(-0.5, 0.5, len(heads))
    if len(heads) == 1:
        return modules.ScaleShiftMACE(**options, atomic_inter_scale=scale[0], atomic_inter_shift=shift[0])
    return modules.ScaleShiftMACE(**options, atomic_inter_scale=scale, atomic_inter_shift=shift)


def structures(elements: list[int], seed: int) -> list[Atoms]:
    """A cluster with one close pair, and a sheared periodic cell that is smaller than the cutoff's sphere."""
    rng = np.random.default_rng(100 + seed)
    numbers = [elements[n % len(elements)] for n in range(6)]
    grid = np.array([[x, y, z] for x in (0.0, 1.6) for y in (0.0, 1.7) for z in (0.0, 1.8)])[:6]
    cluster = Atoms(numbers, grid + rng.normal(0, 0.15, grid.shape))
    cluster.positions[1] = cluster.positions[0] + [0.1, 0.2, 0.9]
    cell = np.array([[3.1, 0.2, 0.0], [0.4, 3.3, 0.3], [-0.3, 0.1, 3.6]])
    crystal = Atoms(numbers[:4], rng.uniform(0, 1, (4, 3)) @ np.eye(3), cell=cell, pbc=True)
    crystal.set_scaled_positions([[0.0, 0.0, 0.0], [0.5, 0.5, 0.03], [0.5, 0.02, 0.5], [0.01, 0.5, 0.5]])
    crystal.rattle(0.1, seed=seed)
    return [cluster, crystal]


def train(model: torch.nn.Module, elements: list[int], seed: int, heads: list[str]) -> None:
    """A few steps, so that the weights are no longer those of the initialization."""
    calculators = {head: _calculator(model, head, heads) for head in heads}
    batches = [
        calculator._atoms_to_batch(atoms).to_dict()
        for calculator in calculators.values()
        for atoms in structures(elements, seed)
    ]
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # the calculator froze them
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for step in range(3):
        optimizer.zero_grad()
        loss = sum((model(dict(batch), training=True)["energy"] + 10 * step).square().sum() for batch in batches)
        loss.backward()
        optimizer.step()


def _calculator(model: torch.nn.Module, head: str, heads: list[str], dtype: str = "") -> MACECalculator:
    named = {"head": head} if len(heads) > 1 else {}
    return MACECalculator(models=[model], device="cpu", default_dtype=dtype, **named)


def references(content: bytes, atoms: Atoms, head: str, heads: list[str]) -> dict[str, Any]:
    """What mace-torch's calculator gives for a structure."""
    found: dict[str, Any] = {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.tolist() if atoms.pbc.all() else None,
        "head": head,
    }
    for dtype in ("float64", "float32"):
        torch.set_default_dtype(getattr(torch, dtype))
        model = torch.load(io.BytesIO(content), weights_only=False)
        atoms.calc = _calculator(model, head, heads, dtype)
        values: dict[str, Any] = {"energy": float(atoms.get_potential_energy())}
        if not isinstance(model.radial_embedding.bessel_fn, modules.radial.ChebychevBasis):
            values["forces"] = atoms.get_forces().tolist()  # torch has no derivative of Chebyshev polynomials
        if atoms.pbc.all() and "forces" in values:
            values["stress"] = atoms.get_stress(voigt=False).tolist()
        found[dtype] = values
    return found


def without_code(model: torch.nn.Module) -> bytes:
    """The file of a model whose compiled code is empty."""
    whole = CodeGenMixin.__getstate__

    def emptied(module: torch.nn.Module) -> dict[str, Any]:
        state = whole(module)
        return {**state, "__codegen__": dict.fromkeys(state["__codegen__"], b"")} if "__codegen__" in state else state

    CodeGenMixin.__getstate__ = emptied
    try:
        return saved(model)
    finally:
        CodeGenMixin.__getstate__ = whole


def saved(model: torch.nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET)
    out = parser.parse_args().out
    files: dict[str, bytes] = {}
    known: dict[str, Any] = {}
    for seed, (name, given) in enumerate(MODELS.items()):
        heads, elements = given.get("heads", ["Default"]), given.get("elements", [HYDROGEN, OXYGEN])
        model = make_model(name, seed)
        train(model, elements, seed, heads)
        whole = saved(model)
        known[name] = [references(whole, atoms, head, heads) for head in heads for atoms in structures(elements, seed)]
        files[f"{name}.model"] = whole if seed == 0 else without_code(model)
        print(f"{name}: {len(files[f'{name}.model']):,} bytes, {known[name][0]['float64']['energy']:.3f} eV")
    files["references.json"] = json.dumps(known, indent=1).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out, "w:xz", preset=9) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), DATE
            archive.addfile(entry, io.BytesIO(content))
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
