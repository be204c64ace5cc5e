"""A trained model as an ASE calculator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from e3frame.inference.predict import RESULTS, Predictor, as_ase, edges_of
from e3frame.inference.saved import Device


class E3FrameCalculator(Calculator):
    """Energy in eV, forces in eV/Å and stress in eV/Å^3 of a saved model, as far as it has them; periodic or not.

    ``results`` holds all outputs of the model: those that ASE has no name for under their own, such as a
    polarizability (3, 3); with outputs per edge also ``edge_index`` (e, 2) and, of a periodic system, ``edge_shift``
    (e, 3), as :class:`e3frame.data.edge_keys.EdgeKeys` describes them. What the model reads besides the structure is
    taken from ``atoms.info``: a total charge from ``atoms.info["total_charge"]``, or ``atoms.info["charge"]``.

    Args:
        model: the file of a trained model.
        device: where to run it.
        dtype: of its weights; None: as it was trained. float64 for vibrations and the like.
        plugins: as for :func:`e3frame.load_model`.
        keys: input of the model: the key of ``atoms.info`` that holds it, where it has another name there.

    Raises:
        UserError: the model cannot be read, or the atoms lack an input of it or hold an element that it does not know.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress", "dipole", "charges"]

    def __init__(
        self,
        model: str | Path,
        device: Device = "cpu",
        dtype: str | None = None,
        plugins: Collection[str] = (),
        keys: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.predictor = Predictor(model, device, dtype, plugins, keys)
        given = [name for name in RESULTS if name in self.predictor.outputs]
        self.implemented_properties = [*given, *(["free_energy"] if "energy" in given else [])]

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; ASE does not look at ``atoms.info``."""
        changes = super().check_state(atoms, tol)
        if not changes and self.predictor.inputs.changed(self.atoms, atoms):
            return ["info"]
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] = ("energy",),
        system_changes: Collection[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        graph = self.predictor.graph(self.atoms)
        (values,) = self.predictor.run([graph])
        self.results = {name: as_ase(name, value) for name, value in values.items()}
        if any(output.domain == "edge" for output in self.predictor.outputs.values()):
            index, shift = edges_of(self.atoms, graph)
            self.results |= {"edge_index": index} | ({} if shift is None else {"edge_shift": shift})
        if "energy" in values:
            self.results["free_energy"] = self.results["energy"]
