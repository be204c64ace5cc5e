r"""Checks that lengths, energies and forces have physical sizes. They catch a wrong unit or sign that all labels share.

Bonds to hydrogen are about equally stiff in all molecules, at any temperature: :math:`F_H \cdot \hat r = -k (r - r_0)`
with k of 30 to 50 eV/Å^2. All-electron total energies differ from those of the free atoms by a percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.graphs import Graph
from e3frame.preflight.energies import composition
from e3frame.preflight.findings import Finding
from e3frame.preflight.trend import GROSS
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.units import ENERGY, LENGTH

STIFFNESS = {6: 31.0, 7: 40.0, 8: 47.0}
"""Stretching force constants of C-H, N-H and O-H in eV/Å^2 (5.0, 6.4 and 7.5 mdyn/Å)."""
BOND = 1.3
"""Largest length of a bond in Å."""
MIN_BONDS = 50
MIN_CORRELATION = 0.7
"""Smallest correlation of force and bond length: about 0.9 in molecular dynamics, 0 in relaxed structures."""
TOLERANCE = 0.3
"""Tolerance of the logarithm of a stiffness. Units differ by factors of 1.9 (bohr), 2 (Ry), 4.2 (kcal and kJ) or
more."""
LARGE = 30.0
"""Typical force in eV/Å above which the unit must be wrong."""
ORGANIC, LONGEST = {1, 6, 7, 8}, 1.5
"""Elements whose bonds to hydrogen are short, and the largest length of these in Å."""
TOTALS = ("eV", "Hartree", "kcal/mol", "kJ/mol", "meV")
"""Units of total energies that are recognized. Not Ry: valence-electron energies in eV look like all-electron energies
in Ry."""
FREE = {
    "H": -0.5, "B": -24.65, "C": -37.85, "N": -54.58, "O": -75.07, "F": -99.73, "Si": -289.4, "P": -341.3, "S": -398.1,
    "Cl": -460.1,
}  # fmt: skip
"""All-electron energies of free atoms in Hartree; bonds add less than two percent."""
OFF = 0.03
"""Relative tolerance of such a total energy."""


def check_lengths(graphs: Sequence[Graph]) -> Finding | None:
    """Check bond lengths in organic molecules; None if they are plausible, or there are no such molecules."""
    organic = [graph for graph in graphs if set(graph.z.tolist()) <= ORGANIC and 1 in graph.z]
    nearest = [length for graph in organic for length in _nearest(graph)]
    if len(nearest) < MIN_BONDS or (typical := float(np.median(nearest))) < LONGEST:
        return None
    text = f"the distance from hydrogen to the nearest atom is {typical:.3g} Å; in molecules it is 0.9 to 1.1 Å"
    is_bohr = typical < LONGEST / LENGTH["bohr"]
    hint = "it looks as if lengths were in bohr: set data.units.length=bohr" if is_bohr else "check data.units.length"
    return Finding("size of the molecules", "warning", text, hint)


def check_forces(graphs: Sequence[Graph], forces: str = "forces", factor: float = 1.0) -> Finding | None:
    """Check unit and sign of the forces on X-H bonds; None if they are plausible, or the frames do not show it.

    Args:
        graphs: frames that all have forces.
        factor: by which the numbers of the files were multiplied.
    """
    ratio, check = _stiffness(graphs, forces), f"size of the {forces}"
    if ratio is None:
        return _large(graphs, forces)
    named = _named(abs(ratio) / factor) if abs(np.log(abs(ratio))) > GROSS else []
    if ratio < 0 and (named or abs(np.log(-ratio)) <= GROSS):
        text = f"the {forces} push stretched X-H bonds further apart: their sign looks inverted"
        hint = f"flip the sign of the {forces} in the file (multiply by -1); check the energies, too"
        return Finding(check, "warning", text, hint)
    if not named:  # data such as differences between two levels of theory have another stiffness in the right unit
        return None
    text = f"the {forces} make X-H bonds {ratio:.3g} times as stiff as real ones"
    hint = f"the file seems to have them in {', or '.join(named)}: check data.units"
    return Finding(check, "warning", text, hint)


def check_totals(dataset: FrameSet, energy: str, factor: float = 1.0) -> Finding | None:
    """Check unit and sign of total energies; None if they are plausible, or cannot be judged (for instance if the
    energies of the free atoms have been subtracted).

    Args:
        factor: by which the numbers of the files were multiplied.
    """
    numbers = np.unique(dataset.stacked("z").numpy())
    if any(SYMBOLS[z] not in FREE for z in numbers):
        return None
    counts, values = composition(dataset), dataset.stacked(energy).numpy().reshape(-1)
    heavy = counts[:, numbers > 1].any(1) & np.isfinite(values)
    if not heavy.any():
        return None
    free = counts[heavy] @ np.array([FREE[SYMBOLS[z]] for z in numbers]) * ENERGY["Hartree"]
    ratio, check = values[heavy] / free, f"size of the {energy}"
    for unit in TOTALS:
        if (np.abs(np.abs(ratio) * ENERGY[unit] / factor - 1) < OFF).mean() < 0.9:
            continue
        text = f"it is about {np.median(values[heavy]):.5g} eV, but the all-electron energy of the free atoms is "
        text += f"{np.median(free):.5g} eV"
        if np.median(ratio) < 0:
            hint = f"flip the sign of the {energy} in the file (multiply by -1); check the forces, too"
            return Finding(check, "warning", text, hint)
        hint = f"it looks as if it were in {unit}: set data.units.energy={unit}"
        return None if abs(ENERGY[unit] / factor - 1) < OFF else Finding(check, "warning", text, hint)
    return None


def _stiffness(graphs: Sequence[Graph], forces: str) -> float | None:
    """Return the stiffness of X-H bonds relative to real ones; None if the frames do not show it."""
    rows = [_bonds(graph, forces) for graph in graphs]
    element, length, pull = (np.concatenate(parts) for parts in zip(*rows, strict=True)) if rows else [np.zeros(0)] * 3
    found, weight = [], []
    for z, expected in STIFFNESS.items():
        r, f = length[element == z], pull[element == z]
        if len(r) < MIN_BONDS or np.ptp(r) < 1e-3 or np.ptp(f) == 0:
            continue
        slope, correlation = np.polyfit(r, f, 1)[0], np.corrcoef(r, f)[0, 1]
        if abs(correlation) > MIN_CORRELATION:
            found.append(-slope / expected)
            weight.append(len(r))
    if not found or min(found) * max(found) < 0:
        return None
    return float(np.sign(found[0]) * np.exp(np.average(np.log(np.abs(found)), weights=weight)))


def _nearest(graph: Graph) -> list[float]:
    """Return the distance of each hydrogen to the nearest atom."""
    target = graph.edge_index[1]
    length = (graph.pos[graph.edge_index[0]] + graph.edge_shift - graph.pos[target]).norm(dim=1)
    shortest = torch.full((graph.num_nodes,), torch.inf, dtype=length.dtype)
    shortest = shortest.scatter_reduce(0, target, length, "amin")[graph.z == 1]
    return shortest[shortest.isfinite()].tolist()


def _bonds(graph: Graph, forces: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return element, length and outward force of the bond of each hydrogen that has exactly one."""
    hydrogen, other = graph.edge_index
    vectors = graph.pos[hydrogen] + graph.edge_shift - graph.pos[other]
    length = vectors.norm(dim=1)
    is_bond = (graph.z[hydrogen] == 1) & (length < BOND) & (graph.z[other] > 1)
    alone = torch.bincount(hydrogen[is_bond], minlength=graph.num_nodes) == 1
    is_bond &= alone[hydrogen]
    hydrogen, other, vectors, length = hydrogen[is_bond], other[is_bond], vectors[is_bond], length[is_bond]
    pull = (graph[forces][hydrogen] * vectors).sum(1) / length
    return graph.z[other].numpy(), length.numpy(), pull.numpy()


def _named(size: float) -> list[str]:
    """Return the two most likely units of forces whose numbers are ``size`` times those in eV/Å."""
    units = {f"{name}/Å": 1 / value for name, value in ENERGY.items()}
    units |= {f"{name}/bohr": LENGTH["bohr"] / ENERGY[name] for name in ("Hartree", "Ry")}
    distance = {name: abs(np.log(size / factor)) for name, factor in units.items()}
    nearest = sorted(distance, key=distance.__getitem__)[:2]
    return [name for name in nearest if distance[name] < TOLERANCE]


def _large(graphs: Sequence[Graph], forces: str) -> Finding | None:
    """Check the size of forces if there are no X-H bonds to judge."""
    sizes = [float(graph[forces].square().sum(1).mean().sqrt()) for graph in graphs if graph.num_nodes > 1]
    if len(sizes) < 10 or (typical := float(np.median(sizes))) < LARGE:
        return None
    text = f"typical {forces} are {typical:.3g} eV/Å per atom, far more than in any material"
    units = "meV/Å" if typical > 10 * LARGE else "kcal/mol/Å or kJ/mol/Å"
    hint = f"the file seems to have them in {units}: check data.units"
    return Finding(f"size of the {forces}", "warning", text, hint)
