"""A trained model as an ASE calculator."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from e3frame.inference.predict import RESULTS, Predictor
from e3frame.inference.saved import Device


class E3FrameCalculator(Calculator):
    """Energy in eV and forces in eV/Å of a saved model; periodic or not.

    Args:
        model: the file of a trained model.
        device: where to run it.
        dtype: of its weights; None: as it was trained. float64 for vibrations and the like.
        plugins: as for :func:`e3frame.load_model`.

    Raises:
        UserError: the model cannot be read, or the atoms hold an element that it does not know.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "dipole"]

    def __init__(
        self,
        model: str | Path,
        device: Device = "cpu",
        dtype: str | None = None,
        plugins: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.predictor = Predictor(model, device, dtype, plugins)
        given = [name for name in RESULTS if name in self.predictor.per_graph]
        self.implemented_properties = [*given, *(["free_energy"] if "energy" in given else [])]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] = ("energy",),
        system_changes: Collection[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        (values,) = self.predictor.run([self.predictor.graph(self.atoms)])
        self.results = {name: values[name] for name in RESULTS if name in values}
        if "energy" in values:
            self.results["energy"] = self.results["free_energy"] = values["energy"].item()
