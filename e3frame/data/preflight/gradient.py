r"""Forces against energies, and stresses against both: signs, units, and the order of a stress's components.

A potential of pairs is fitted to the forces, which fixes its energies up to a constant for each composition. The
energies of the file then run along with it: with slope 1; with slope -1 if the gradient stands in place of the force;
with the ratio of two units if energies and forces are in different ones. Frames need not follow each other in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e3frame.data.graphs import Graph
from e3frame.data.preflight.findings import Finding
from e3frame.data.preflight.pair_model import PairModel, fit_pairs, thinned
from e3frame.data.units import ENERGY, LENGTH, PRESSURE

MIN_FRAMES = 10
MIN_CORRELATION = 0.4
"""Below it, nothing is concluded."""
MIN_SIGNIFICANCE = 5.0
"""Of a correlation, in standard deviations of that of unrelated series."""
ORDERS = {
    "xx, yy, zz, xy, yz, xz (VASP)": ((0, 1), (1, 2), (0, 2)),
    "xx, yy, zz, xy, xz, yz (LAMMPS)": ((0, 1), (0, 2), (1, 2)),
}
"""Orders of six components other than ASE's, by what stands in the places of yz, xz, xy."""

GROSS = np.log(5.0)
"""Of a slope's logarithm: what no crudeness of the pair model explains. Units differ by 23 and more, bohr apart."""


class Trend(NamedTuple):
    """``slope`` and ``correlation`` of what a file holds on what the pair model expects."""

    slope: float
    correlation: float
    number: int

    @property
    def tells(self) -> bool:
        """Whether the two series have to do with each other."""
        size = abs(self.correlation)
        return size > MIN_CORRELATION and size * np.sqrt(self.number) > MIN_SIGNIFICANCE

    @property
    def tolerance(self) -> float:
        """Of the slope's logarithm: a factor of 1.4 for a perfect correlation, of 4 for a poor one. Units differ by
        factors of 1.9 (bohr) or 23 and more."""
        return 0.35 + 1.75 * (1 - abs(self.correlation))

    def is_about(self, factor: float) -> bool:
        return abs(np.log(abs(self.slope) / factor)) < self.tolerance


def check_gradient(graphs: Sequence[Graph], energy: str = "energy", forces: str = "forces") -> Finding:
    """Whether the forces are the negative gradients of the energies."""
    check = f"{forces} against {energy}"
    graphs, model = _fitted(graphs, forces, energy)
    if model is None:
        return Finding(check, "note", "too few frames to compare them")
    energies = np.array([float(graph[energy]) for graph in graphs])
    found = trend(energies, model.energy, _nuisance(graphs))
    if found is None or not found.tells:
        return Finding(check, "note", f"sign and units could not be told from these frames{_said(found)}")
    size = abs(found.slope)
    if found.is_about(1.0):
        if found.slope > 0:
            return Finding(check, "ok", f"the forces are the negative gradient{_said(found)}")
        text = f"the {forces} are the gradient of the {energy}, not its negative{_said(found)}"
        return Finding(check, "error", text, f"turn the sign of the {forces} in the file")
    names = _named(found)
    text = f"the {forces} do not fit the {energy}: a factor of {size:.3g}{_said(found)}"
    if found.slope < 0:
        text += "; and they are its gradient, not the negative one"
    # A small factor, or one of no unit, may be the fault of the pair model, not of the file.
    level = "error" if names and abs(np.log(size)) > GROSS else "warning"
    return Finding(check, level, text, f"it looks as if {', or '.join(names)}" if names else "check data.units")


def check_stress(graphs: Sequence[Graph], forces: str = "forces", stress: str = "stress") -> Finding:
    """The sign, the unit and the order of the components of a stress."""
    graphs, model = _fitted([g for g in graphs if bool(g.pbc.all())], forces, stress)
    if model is None:
        return Finding(stress, "note", "too few periodic frames with forces to judge it")
    held, expected = np.concatenate([g[stress].numpy() for g in graphs]), model.stress
    off, mine = _off_diagonal(held), _off_diagonal(expected)
    found = trend(off.reshape(-1), mine.reshape(-1), np.ones((mine.size, 1)))
    best, order = found.correlation if found else 0.0, None
    for name, places in ORDERS.items():
        turned = np.stack([expected[:, i, j] for i, j in places], 1).reshape(-1)
        other = trend(off.reshape(-1), turned, np.ones((mine.size, 1)))
        if other is not None and other.tells and abs(other.correlation) > abs(best) + 0.2:
            best, order, found = other.correlation, name, other
    if order is not None:
        text = f"its components are in the order {order}, not in ASE's: xx, yy, zz, yz, xz, xy{_said(found)}"
        return Finding(stress, "error", text, "write nine components, or reorder the six")
    if found is None or not found.tells:
        return Finding(stress, "note", f"sign and unit could not be told from these frames{_said(found)}")
    if found.slope < 0:
        text = f"its sign is turned: it must be positive where the energy grows under stretching{_said(found)}"
        return Finding(stress, "error", text, "turn its sign; or it is a virial: data.keys.virial=...")
    if found.is_about(1.0):
        return Finding(stress, "ok", f"sign, unit and order fit the forces{_said(found)}")
    units = {
        "GPa": 1 / PRESSURE["GPa"],
        "kbar": 1 / PRESSURE["kbar"],
        "Hartree/bohr^3": LENGTH["bohr"] ** 3 / ENERGY["Hartree"],
    }
    named = [name for name, factor in units.items() if found.is_about(factor)]
    text = f"it does not fit the forces: a factor of {found.slope:.3g}{_said(found)}"
    hint = f"it looks as if it were in {named[0]}: data.units.stress" if named else "check data.units.stress"
    return Finding(stress, "error" if named and abs(np.log(found.slope)) > GROSS else "warning", text, hint)


def trend(held: NDArray[np.float64], expected: NDArray[np.float64], nuisance: NDArray[np.float64]) -> Trend | None:
    """Of two series, apart from what ``nuisance`` (n, k) explains in both; None where one of them does not vary.

    The slope is the ratio of the deviations (the reduced major axis), as both have errors.
    """
    if len(held) < nuisance.shape[1] + MIN_FRAMES - 1:
        return None
    y, x = (v - nuisance @ np.linalg.lstsq(nuisance, v, rcond=None)[0] for v in (held, expected))
    yy, xx, xy = y @ y, x @ x, x @ y
    if yy < 1e-20 * len(held) or xx < 1e-20 * len(held):
        return None
    return Trend(float(np.sign(xy) * np.sqrt(yy / xx)), float(xy / np.sqrt(xx * yy)), len(held))


def _fitted(graphs: Sequence[Graph], forces: str, other: str) -> tuple[list[Graph], PairModel | None]:
    """Frames that have both labels, and the pair model of their forces."""
    labelled = [g for g in graphs if forces in g and bool(g[forces].isfinite().all() & g[other].isfinite().all())]
    chosen = thinned([graph for graph in labelled if graph.edge_index.shape[1]])
    if len(chosen) < MIN_FRAMES:
        return chosen, None
    return chosen, fit_pairs(chosen, np.concatenate([graph[forces].numpy() for graph in chosen]))


def _nuisance(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Composition, and in crystals the volume, whose energy a potential of pairs that knows the forces alone misses."""
    numbers = np.unique(np.concatenate([graph.z.numpy() for graph in graphs]))
    columns = np.stack([(graph.z.numpy()[:, None] == numbers).sum(0) for graph in graphs]).astype(np.float64)
    if not any(bool(graph.pbc.all()) for graph in graphs):
        return columns
    volumes = np.array([float(g.cell[0].det().abs()) if bool(g.pbc.all()) else 0.0 for g in graphs])
    return np.column_stack([columns, volumes, np.square(volumes) / max(volumes.max(), 1.0)])


def _off_diagonal(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([matrices[:, 1, 2], matrices[:, 0, 2], matrices[:, 0, 1]], 1)


def _said(found: Trend | None) -> str:
    return "" if found is None else f" (slope {found.slope:.3g}, correlation {found.correlation:.2f})"


def _named(found: Trend) -> list[str]:
    """Mistakes in units that give this slope of the energies on the forces, the likeliest alone."""
    energies = {name: ENERGY[name] for name in ("eV", "Hartree", "kcal/mol", "kJ/mol")}
    factors = {
        f"energies are in {one} and forces in {other}/Å": energies[other] / energies[one]
        for one in energies
        for other in energies
        if one != other
    }
    atomic = ENERGY["Hartree"] / LENGTH["bohr"]
    factors |= {f"energies are in {name} and forces in Hartree/bohr": atomic / eV for name, eV in energies.items()}
    factors |= {f"forces are per {name}, positions in Å": 1 / LENGTH[name] for name in ("bohr", "nm")}
    factors |= {"positions are in bohr, forces per Å": LENGTH["bohr"]}
    distance = {name: abs(np.log(abs(found.slope) / factor)) for name, factor in factors.items()}
    nearest = sorted(distance, key=distance.__getitem__)[:2]
    return [name for name in nearest if distance[name] < found.tolerance]
