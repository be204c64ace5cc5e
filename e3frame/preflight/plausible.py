r"""Check that lengths, energies and forces have the size that they have in nature. If all are in a wrong unit, or have
the wrong sign, they fit each other, and only this check finds it.

The stretching of a bond to hydrogen is as stiff in all molecules, at any temperature: :math:`F_H \cdot \hat r = -k (r -
r_0)` with k of 30 to 50 eV/Å^2. Total energies with all electrons are those of the free atoms within a percent.
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
"""eV/Å^2, of the stretching of C-H, N-H and O-H (5.0, 6.4 and 7.5 mdyn/Å)."""
BOND = 1.3
"""Å: a longer one is not a bond."""
MIN_BONDS = 50
MIN_CORRELATION = 0.7
"""Correlation of the force with the length of the bond: 0.9 in molecular dynamics, none after a relaxation."""
TOLERANCE = 0.3
"""Tolerance of the logarithm of a stiffness. Units differ by factors of 1.9 (bohr), 2 (Ry), 4.2 (kcal and kJ) and
more."""
LARGE = 30.0
"""eV/Å: the forces of most frames are smaller in any matter."""
ORGANIC, LONGEST = {1, 6, 7, 8}, 1.5
"""Elements to which hydrogen has bonds that are shorter than that, in Å."""
TOTALS = ("eV", "Hartree", "kcal/mol", "kJ/mol", "meV")
"""Units of total energies that are recognised. Not Ry: energies of valence electrons in eV are close to it."""
FREE = {
    "H": -0.5, "B": -24.65, "C": -37.85, "N": -54.58, "O": -75.07, "F": -99.73, "Si": -289.4, "P": -341.3, "S": -398.1,
    "Cl": -460.1,
}  # fmt: skip
"""Energies of free atoms with all their electrons in Hartree; bonds add less than two percent."""
OFF = 0.03
"""Part by which such a total may be off."""


def check_lengths(graphs: Sequence[Graph]) -> Finding | None:
    """Check the size of organic molecules; None if it is plausible, or there are none."""
    organic = [graph for graph in graphs if set(graph.z.tolist()) <= ORGANIC and 1 in graph.z]
    nearest = [length for graph in organic for length in _nearest(graph)]
    if len(nearest) < MIN_BONDS or (typical := float(np.median(nearest))) < LONGEST:
        return None
    text = f"the atom nearest to a hydrogen is {typical:.3g} Å away; in molecules it is 0.9 to 1.1 Å"
    is_bohr = typical < LONGEST / LENGTH["bohr"]
    hint = "it looks as if lengths were in bohr: data.units.length=bohr" if is_bohr else "check data.units.length"
    return Finding("size of the molecules", "warning", text, hint)


def check_forces(graphs: Sequence[Graph], forces: str = "forces", factor: float = 1.0) -> Finding | None:
    """Check unit and sign of the forces by X-H bonds; None if they are plausible, or the frames do not show it.

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
        return Finding(
            check,
            "warning",
            text,
            f"flip the sign of the {forces} in the file (multiply by -1), and that of the energies?",
        )
    if not named:  # a factor of no unit may be in the nature of the data, as of differences between two levels
        return None
    text = f"by the {forces}, X-H bonds are {ratio:.3g} times as stiff as in nature"
    hint = f"it looks as if the file had them in {', or '.join(named)}: check data.units"
    return Finding(check, "warning", text, hint)


def check_totals(dataset: FrameSet, energy: str, factor: float = 1.0) -> Finding | None:
    """Check unit and sign of total energies; None if they are plausible, or cannot be judged, such as energies without
    those of the free atoms.

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
        text = f"it is about {np.median(values[heavy]):.5g} eV; the free atoms with all their electrons have "
        text += f"{np.median(free):.5g} eV"
        if np.median(ratio) < 0:
            hint = f"flip the sign of the {energy} in the file (multiply by -1), and that of the forces?"
            return Finding(check, "warning", text, hint)
        hint = f"it looks as if it were in {unit}: data.units.energy={unit}"
        return None if abs(ENERGY[unit] / factor - 1) < OFF else Finding(check, "warning", text, hint)
    return None


def _stiffness(graphs: Sequence[Graph], forces: str) -> float | None:
    """Stiffness of X-H bonds, relative to nature; None if the frames do not show it."""
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
    """Distance of each hydrogen to the nearest atom."""
    target = graph.edge_index[1]
    length = (graph.pos[graph.edge_index[0]] + graph.edge_shift - graph.pos[target]).norm(dim=1)
    shortest = torch.full((graph.num_nodes,), torch.inf, dtype=length.dtype)
    shortest = shortest.scatter_reduce(0, target, length, "amin")[graph.z == 1]
    return shortest[shortest.isfinite()].tolist()


def _bonds(graph: Graph, forces: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Element, length and outward force of the bond of each hydrogen that has one bond."""
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
    """Units of forces in which numbers are so many times those in eV/Å, the likeliest two."""
    units = {f"{name}/Å": 1 / value for name, value in ENERGY.items()}
    units |= {f"{name}/bohr": LENGTH["bohr"] / ENERGY[name] for name in ("Hartree", "Ry")}
    distance = {name: abs(np.log(size / factor)) for name, factor in units.items()}
    nearest = sorted(distance, key=distance.__getitem__)[:2]
    return [name for name in nearest if distance[name] < TOLERANCE]


def _large(graphs: Sequence[Graph], forces: str) -> Finding | None:
    """Check the size of forces without hydrogen."""
    sizes = [float(graph[forces].square().sum(1).mean().sqrt()) for graph in graphs if graph.num_nodes > 1]
    if len(sizes) < 10 or (typical := float(np.median(sizes))) < LARGE:
        return None
    text = f"they are about {typical:.3g} eV/Å on an atom, far more than in any material"
    units = "meV/Å" if typical > 10 * LARGE else "kcal/mol/Å or kJ/mol/Å"
    hint = f"it looks as if the file had them in {units}: data.units"
    return Finding(f"size of the {forces}", "warning", text, hint)
