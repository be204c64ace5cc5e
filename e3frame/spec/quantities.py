"""Physical quantities: their units, what they belong to, their symmetry, and what files and ASE call them.

This table is the only place that knows them. A plugin adds one with :func:`register`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from e3frame.algebra.cartesian import cartesian_irreps
from e3frame.algebra.irreps import Irreps
from e3frame.spec.unit_values import DIPOLE, ENERGY, FORCE, LENGTH, POLARIZABILITY, PRESSURE, canonical

Rows = Literal["graph", "node", "edge"]


@dataclass(frozen=True)
class Quantity:
    """A physical quantity that has a name of its own in data, targets and results.

    Attributes:
        name: name of the label and of the model's output.
        unit: unit inside e3frame, in which labels are learned and predictions are returned.
        per: whether a graph, an atom or an edge has one value.
        irreps: irreps of one value. Without ``cartesian`` a value in a file has one number for each component.
        cartesian: symmetry of the indices of a Cartesian tensor, such as ``ij=ji``, instead of ``irreps``.
        powers: powers of energy, length and charge in the unit, by which labels are converted if the units of energy
            and length of a file are known; None: labels are taken as they are.
        units: units that ``data.units.<name>`` may give, with their values in ``unit``; none: the unit always follows
            from those of energy and length.
        spellings: names in the metadata of files, in lower case, under which the unit of the quantity is stated.
        column: name of the quantity as a column of an extended XYZ file, if that is another.
        also_in: key of ``atoms.info`` that other programs use for it as an input of a model.
        ase: name under which ASE's calculators return it; None: it is returned as an entry of ``info`` or ``arrays``.
        per_volume: whether it is defined only in a cell that has a volume.
        becomes: the quantity that labels of this one are turned into when they are read; a virial becomes a stress.
    """

    name: str
    unit: str
    per: Rows = "graph"
    irreps: str = "0e"
    cartesian: str | None = None
    powers: tuple[int, int, int] | None = None
    units: Mapping[str, float] = field(default_factory=dict)
    spellings: frozenset[str] = frozenset()
    column: str | None = None
    also_in: str | None = None
    ase: str | None = None
    per_volume: bool = False
    becomes: str | None = None

    @property
    def type(self) -> Irreps:
        """Irreps of one value as a model gives it."""
        return Irreps(self.irreps) if self.cartesian is None else cartesian_irreps(self.cartesian)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value in the data: () for a scalar, (3,) for a vector, (3, 3) for a matrix."""
        return value_shape(self.type, self.cartesian)

    @property
    def form(self) -> str:
        """Keys of a target that learns the quantity directly, as YAML."""
        kind = f"irreps: {self.irreps}" if self.cartesian is None else f"cartesian: '{self.cartesian}'"
        return f"{{{kind}, per: {self.per}}}"

    def scale(self, energy: float, length: float) -> float:
        """Value, in ``unit``, of the unit that follows from one of energy and one of length."""
        of_energy, of_length, _ = self.powers or (0, 0, 0)
        return energy**of_energy * length**of_length

    @property
    def atomic_unit(self) -> float:
        """Value of the atomic unit in ``unit``."""
        return self.scale(ENERGY["Hartree"], LENGTH["bohr"])

    def value_of(self, unit: str) -> float | None:
        """Value of a unit in ``unit``, None if it is no known unit of this quantity.

        >>> QUANTITIES["stress"].value_of("meV/Å³"), QUANTITIES["dipole"].value_of("V")
        (0.001, None)
        """
        return self._values.get(canonical(unit.replace("³", "^3")))

    @property
    def known_units(self) -> list[str]:
        """Units that a model's output of this quantity may have."""
        return list(self._values)

    @property
    def _values(self) -> dict[str, float]:
        per_volume = {f"{energy}/Å^3": factor for energy, factor in ENERGY.items()} if self.per_volume else {}
        return {**per_volume, **self.units} or {self.unit: 1.0}


def value_shape(irreps: Irreps, cartesian: str | None) -> tuple[int, ...]:
    """Shape of one value in the data: an axis of 3 for each Cartesian index, else one axis of all components."""
    if cartesian is not None:
        return (3,) * len(cartesian.split("=")[0].strip())
    return () if irreps.dim == 1 else (irreps.dim,)


QUANTITIES: dict[str, Quantity] = {}
"""All known quantities by name."""


def register(*quantities: Quantity) -> None:
    """Add quantities to the table.

    Raises:
        ValueError: another quantity has the name already.
    """
    for quantity in quantities:
        if QUANTITIES.setdefault(quantity.name, quantity) != quantity:
            raise ValueError(f"the quantity {quantity.name!r} is registered twice")


def quantity_of(name: str) -> Quantity | None:
    """The quantity that a label, an input or an output of this name is; None if the name says nothing.

    Names of quantities that become another one when they are read are free.
    """
    quantity = QUANTITIES.get(name)
    return None if quantity is None or quantity.becomes is not None else quantity


register(
    Quantity(
        "energy",
        "eV",
        powers=(1, 0, 0),
        units=ENERGY,
        spellings=frozenset({"energy", "energies", "e", "total_energy", "potential_energy"}),
        ase="energy",
    ),
    Quantity(
        "forces",
        "eV/Å",
        per="node",
        irreps="1o",
        powers=(1, -1, 0),
        units=FORCE,
        spellings=frozenset({"forces", "force", "f", "gradient", "gradients"}),
        ase="forces",
    ),
    Quantity(
        "stress",
        "eV/Å^3",
        cartesian="ij=ji",
        powers=(1, -3, 0),
        units=PRESSURE,
        spellings=frozenset({"stress", "stresses"}),
        ase="stress",
        per_volume=True,
    ),
    Quantity(
        "virial",
        "eV",
        cartesian="ij=ji",
        powers=(1, 0, 0),
        units=ENERGY,
        spellings=frozenset({"virial", "virials"}),
        becomes="stress",
    ),
    Quantity(
        "dipole",
        "e*Å",
        irreps="1o",
        powers=(0, 1, 1),
        units=DIPOLE,
        spellings=frozenset({"dipole", "dipoles", "dipole_moment", "mu"}),
        ase="dipole",
    ),
    Quantity(
        "polarizability",
        "Å^3",
        cartesian="ij=ji",
        powers=(0, 3, 0),
        units=POLARIZABILITY,
        spellings=frozenset({"polarizability", "polarizabilities", "alpha"}),
    ),
    Quantity("charges", "e", per="node", powers=(0, 0, 1), column="charge", ase="charges"),
    Quantity("total_charge", "e", powers=(0, 0, 1), also_in="charge"),
)

RESERVED = frozenset(
    [
        "pos",
        "z",
        "edge_index",
        "edge_shift",
        "edges",
        "cell",
        "pbc",
        "frame",
        "file",
        "group",
        "batch",
        "ptr",
        "slices",
        "num_graphs",
        "num_nodes",
    ]
)
"""Reserved keys of graphs and batches, not available as names of labels and inputs."""
