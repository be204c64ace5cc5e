"""Checks sign, unit and component order of the stress, using forces, energies of strained cells, or its change with the
volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from e3frame.data.pipeline.graphs import Graph
from e3frame.preflight.differences import differences
from e3frame.preflight.findings import Finding, Level
from e3frame.preflight.gradient import SURE, fitted_pairs, labelled
from e3frame.preflight.pair_potential import doubt
from e3frame.preflight.trend import CRUDE, GROSS, SLIGHT, Trend, summary, trend
from e3frame.spec.units import ENERGY, LENGTH, PRESSURE

ORDERS = {
    "xx, yy, zz, xy, yz, xz (VASP)": ((0, 1), (1, 2), (0, 2)),
    "xx, yy, zz, xy, xz, yz (LAMMPS)": ((0, 1), (0, 2), (1, 2)),
}
"""Orders of six components that differ from ASE's: the components instead of yz, xz, xy."""
UNITS = {
    "GPa": 1 / PRESSURE["GPa"],
    "kbar": 1 / PRESSURE["kbar"],
    "Hartree/bohr^3": LENGTH["bohr"] ** 3 / ENERGY["Hartree"],
}
"""Factor by which the numbers are too large in other units."""

TURN = "multiply it by -1 in the file (VASP's sign is opposite), or read it as a virial: data.keys.virial=KEY"
STIFFEST = 1000 * PRESSURE["GPa"]
"""Largest bulk modulus at ambient pressure in eV/Å^3; diamond has 443 GPa."""
IMPOSSIBLE = 10_000 * PRESSURE["GPa"]
"""Impossible bulk modulus in eV/Å^3: twice that of iron at 2 TPa."""


def check_stress(
    graphs: Sequence[Graph], forces: str | None = "forces", stress: str = "stress", energy: str | None = None
) -> Finding:
    """Check the stress against a pair potential that is fitted to the forces. If there are no forces, or that is not
    conclusive, against the energies of cells that differ by a small strain; finally, against the volume."""
    periodic = labelled([graph for graph in graphs if bool(graph.pbc.all())], stress)
    found = None if forces is None else _by_pairs(labelled(periodic, forces), forces, stress)
    if (found is None or found.level == "note") and energy is not None:
        other = _by_strain(labelled(periodic, energy, *([] if forces is None else [forces])), energy, forces, stress)
        found = found if other is None else other
    if found is None or found.level == "note":
        found = _by_volume(periodic, stress) or found
    return found or Finding(stress, "note", "too few periodic frames of one kind to judge it")


def _by_pairs(graphs: Sequence[Graph], forces: str, stress: str) -> Finding | None:
    fitted = fitted_pairs(graphs, forces)
    model = fitted.model
    if model is None:
        return None
    held = _off_diagonal(np.concatenate([g[stress].numpy() for g in fitted.graphs])).reshape(-1)
    orders = {name: np.stack([model.stress[:, i, j] for i, j in places], 1) for name, places in ORDERS.items()}
    found = trend(held, _off_diagonal(model.stress).reshape(-1))
    others = {name: trend(held, turned.reshape(-1)) for name, turned in orders.items()}
    verdict = _other_order(stress, found, others) or _judged(stress, found, "the forces", "sign, unit and order")
    if verdict.level not in ("warning", "error"):
        return verdict
    unsure = doubt(
        fitted.trials(),
        lambda right, tried: trend(_off_diagonal(right.stress).reshape(-1), _off_diagonal(tried.stress).reshape(-1)),
    )
    if _other_order(stress, found, others):
        return verdict if unsure < CRUDE else _judged(stress, None, "", "")
    assert found is not None
    return verdict if found.against(unsure).is_significant else _judged(stress, None, "", "")


def _by_strain(graphs: Sequence[Graph], energy: str, forces: str | None, stress: str) -> Finding | None:
    found = differences(graphs, energy, forces, stress)
    if found is None:
        return None
    found = found.where(np.abs(found.strain).max((1, 2)) > 1e-5)
    held = found.energy - found.by_forces
    work = found.virial * found.strain
    diagonal = np.stack([work[:, k, k] for k in range(3)], 1)
    ase = ((1, 2), (0, 2), (0, 1))
    shear = {
        name: np.sum([found.virial[:, *at] * found.strain[:, *of] for at, of in zip(ase, order, strict=True)], 0)
        for name, order in ({"": ase} | ORDERS).items()
    }
    trends = {name: trend(held, 2 * series, diagonal) for name, series in shear.items()}
    mine = trends.pop("")
    whole = _inverse(trend(held, work.sum((1, 2))), forces is None)
    sheared = mine is not None and mine.is_significant
    what = "sign, unit and order" if sheared else "sign and unit"
    return _other_order(stress, mine, trends) or _judged(stress, whole, "the energies of strained cells", what)


def _inverse(found: Trend | None, noisy: bool) -> Trend | None:
    """Return the slope of the stress on the energies.

    Args:
        noisy: whether the energies change for other reasons than the strain, too; then by least squares.
    """
    if found is None:
        return None
    slope = found.slope * (abs(found.correlation) if noisy else 1.0)
    return found._replace(slope=1 / slope)


def _by_volume(graphs: Sequence[Graph], stress: str) -> Finding | None:
    """Check how a third of the trace changes with the logarithm of the volume: the slope is the bulk modulus, and
    positive."""
    members: dict[bytes, list[tuple[float, float]]] = defaultdict(list)
    for graph in graphs:
        volume, trace = float(graph.cell[0].det().abs()), float(graph[stress][0].trace())
        members[graph.z.sort().values.numpy().tobytes()].append((np.log(volume), trace / 3))
    groups = [np.array(rows) - np.mean(rows, 0) for rows in members.values() if len(rows) > 1]
    if not groups:
        return None
    strain, held = np.concatenate(groups).T
    found = trend(held, strain)
    if found is None or not found.is_significant:
        return None
    modulus = found.slope * abs(found.correlation)
    if modulus < 0:
        text = f"its sign is inverted: it decreases with the volume{summary(found)}"
        return Finding(stress, "warning", text, TURN)  # no error: hot frames may be larger and under pressure
    if modulus > STIFFEST:
        size = f"{modulus / PRESSURE['GPa']:.0f} GPa"
        text = f"its change with the volume gives a bulk modulus of {size}, more than any material has"
        level: Level = "error" if modulus > IMPOSSIBLE else "warning"
        return Finding(stress, level, text, "it looks as if it were in GPa or kbar: check data.units.stress")
    modulus /= PRESSURE["GPa"]
    text = f"its sign fits the volumes (bulk modulus {modulus:.0f} GPa); the order of its components was not checked"
    return Finding(stress, "ok", text)


def _other_order(stress: str, found: Trend | None, others: dict[str, Trend | None]) -> Finding | None:
    """Return a finding if another order of the components fits much better."""
    best = abs(found.correlation) if found is not None else 0.0
    fitting = {name: other for name, other in others.items() if other is not None and other.is_significant}
    name = max(fitting, key=lambda key: abs(fitting[key].correlation), default=None)
    if name is None or abs(fitting[name].correlation) < best + 0.2:
        return None
    text = f"its components are in the order {name}, not in ASE's: xx, yy, zz, yz, xz, xy{summary(fitting[name])}"
    level: Level = "error" if abs(fitting[name].correlation) > SURE else "warning"
    return Finding(stress, level, text, "write nine components, or reorder the six")


def _judged(stress: str, found: Trend | None, against: str, what: str) -> Finding:
    if found is None or not found.is_significant:
        return Finding(stress, "note", f"these frames do not show sign and unit{summary(found)}")
    if found.slope < 0:
        text = f"its sign is inverted: it must be positive where stretching raises the energy{summary(found)}"
        return Finding(stress, "error" if abs(found.correlation) > SURE else "warning", text, TURN)
    if found.is_about(1.0):
        return Finding(stress, "ok", f"{what} fit {against}{summary(found)}")
    named = [name for name, factor in UNITS.items() if found.is_about(factor)]
    if not named and abs(np.log(found.slope)) < SLIGHT:
        text = f"its sign fits {against}, but its size is off by a factor of {found.slope:.3g}"
        return Finding(stress, "note", text)
    text = f"it does not fit {against}: it differs by a factor of {found.slope:.3g}{summary(found)}"
    hint = f"it looks as if it were in {named[0]}: check data.units.stress" if named else "check data.units.stress"
    return Finding(stress, "error" if named and abs(np.log(found.slope)) > GROSS else "warning", text, hint)


def _off_diagonal(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([matrices[:, 1, 2], matrices[:, 0, 2], matrices[:, 0, 1]], 1)
