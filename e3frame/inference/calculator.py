"""A trained model as an ASE calculator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from e3frame.inference.device import Device, without_modes
from e3frame.inference.predictor import ENERGIES, Predictor, as_ase, ase_name, edges_of
from e3frame.spec.errors import UserError, did_you_mean
from e3frame.spec.quantities import QUANTITIES

_OF_ASE = ("atoms", "label", "directory")
_ELSEWHERE = {
    "default_dtype": "dtype",
    "precision": "dtype",
    **dict.fromkeys(("model_path", "model_paths", "path", "file", "checkpoint", "potential"), "model"),
    **dict.fromkeys(("use_gpu", "gpu", "cuda"), "device"),
    **dict.fromkeys(("charge_key", "info_keys"), "keys"),
}
"""Names of our keywords in other calculators."""


class E3FrameCalculator(Calculator):
    """Energy in eV, forces in eV/Å and stress in eV/Å^3 of a saved model, for molecules and periodic systems.

    A model with an output ``energy`` also gives forces and, in a cell that is periodic in three directions, a stress,
    whether it was trained on them or not; if the energy is a sum over atoms, also the ``energies`` (n,) of the atoms.

    ``results`` holds all outputs of the model; those without a name in ASE keep their own, such as a polarizability
    (3, 3). With outputs per edge it also holds ``edge_index`` (e, 2) and, in a periodic system, ``edge_shift`` (e, 3),
    as ``data.edges`` describes them. Its arrays cannot be changed in place.
    Inputs of the model besides the structure are read from ``atoms.info``: a total charge from
    ``atoms.info["total_charge"]`` or ``atoms.info["charge"]``.

    Args:
        model: the file of a trained model, the folder of its run, or ``runs/<name>`` for the newest run of that name.
        device: device on which the model runs.
        dtype: type of its weights; None: that of the training. Use float64 for vibrations.
        plugins: as for :func:`e3frame.load_model`.
        keys: for an input of the model, the key of ``atoms.info`` that holds it, if that is another name.
        kwargs: keywords of ASE's calculators: ``atoms``, ``label``, ``directory``.

    Raises:
        UserError: the model cannot be read, a keyword is unknown, the atoms lack an input of the model or have an
            element that is unknown to it, or a prediction is not finite.
    """

    implemented_properties: list[str] = [  # noqa: RUF012
        *(quantity.ase for quantity in QUANTITIES.values() if quantity.ase is not None),
        ENERGIES,
        "free_energy",
    ]

    def __init__(
        self,
        model: str | Path | None = None,
        device: Device = "cpu",
        dtype: torch.dtype | str | None = None,
        plugins: Collection[str] = (),
        keys: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        _require_known(kwargs)
        if model is None:
            raise UserError("E3FrameCalculator needs a model\n  model='runs/.../model.safetensors'")
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]  # ASE has no types
        self.predictor = Predictor(model, device, dtype, plugins, keys)
        given = [called for name in self.predictor.names if (called := ase_name(name)) is not None]
        self.implemented_properties = [*given, *(["free_energy"] if "energy" in given else [])]
        self._read: dict[str, NDArray[np.float64]] = {}
        self._weights: torch.Tensor | None = None

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Refuse all changes: a calculator keeps its settings."""
        if kwargs:
            raise UserError(f"{', '.join(kwargs)} cannot be changed\n  create a new calculator")
        return {}

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Changes since the last calculation, also of ``atoms.info`` and the weights, which ASE does not compare."""
        changes: list[str] = super().check_state(atoms, tol)  # type: ignore[no-untyped-call]
        if not changes and self.predictor.inputs.changed(self._read, atoms):
            return ["info"]
        if not changes and (self._weights is None or not torch.equal(self._weights, _content(self.predictor.model))):
            return ["weights"]
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] = ("energy",),
        system_changes: Collection[str] = tuple(all_changes),
    ) -> None:
        self.results = {}  # a failed calculation must not leave results of an earlier one
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.atoms is None:
            raise UserError("the calculator has no atoms\n  set atoms.calc = calculator, or pass atoms")
        with without_modes(self.predictor.device):
            graph = self.predictor.graph(self.atoms)
            self._read, self._weights = self.predictor.inputs.read(self.atoms), _content(self.predictor.model)
            (values,) = self.predictor.run([graph])
        results: dict[str, Any] = {ase_name(name) or name: as_ase(name, value) for name, value in values.items()}
        if any(output.domain == "edge" for output in self.predictor.outputs.values()):
            index, shift = edges_of(self.atoms, graph)
            results |= {"edge_index": index} | ({} if shift is None else {"edge_shift": shift})
        if "energy" in values:
            results["free_energy"] = results["energy"]
        for value in results.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self.results = results


def _require_known(given: Mapping[str, Any]) -> None:
    known = ("model", "device", "dtype", "plugins", "keys", *_OF_ASE)
    for name in given:
        if name not in known:
            match = _ELSEWHERE.get(name.lower())
            hint = f"did you mean {match}?" if match else did_you_mean(name, known, "known")
            raise UserError(f"E3FrameCalculator has no keyword '{name}'\n  {hint}")


def _content(model: torch.nn.Module) -> torch.Tensor:
    """All numbers of a model, as bytes."""
    tensors = [*model.parameters(), *model.buffers()]
    return torch.cat([tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in tensors])
