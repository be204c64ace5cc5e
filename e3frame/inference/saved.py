"""A trained model in one file: weights as safetensors, the resolved spec in the header. No pickle, no code."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import e3frame
from e3frame.data.parts import replace_file
from e3frame.layers.strain_gradient import StrainGradient
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.errors import UserError, nearest
from e3frame.spec.plugins import untrusted, way_to_trust
from e3frame.spec.validate import SpecErrors, validate
from e3frame.train.targets import TaskSpec

FORMAT = 1
"""Of the file: raise it when older versions of e3frame could not read what is written."""

Device = torch.device | str


def save_model(model: Model, path: str | Path, task: TaskSpec | None = None) -> Path:
    """Write a model into one file, in one step: no reader ever sees half of it.

    Args:
        model: with its resolved spec.
        path: ends in ``.safetensors`` by convention.
        task: what it was trained on, so that an evaluation knows the labels and their units.
    """
    path = Path(path)
    metadata = {
        "e3frame": e3frame.__version__,
        "format": str(FORMAT),
        "dtype": str(model.dtype).removeprefix("torch."),
        "spec": model.spec.model_dump_json(),
    }
    if task is not None:
        metadata["task"] = task.model_dump_json()
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    replace_file(path, _ordered(save(weights, metadata)))
    return path


def load_model(
    path: str | Path,
    device: Device = "cpu",
    dtype: torch.dtype | str | None = None,
    plugins: Collection[str] = (),
) -> Model:
    """The model in a file that :func:`save_model` wrote, ready to predict: in eval mode, its weights frozen.

    Args:
        path: the file.
        device: where to put it.
        dtype: of the weights; None: that in which it was trained, in which it predicts what it predicted then.
        plugins: modules that may be imported because the model's spec names them. Installed plugins of e3frame need
            not be listed.

    Raises:
        UserError: there is no such file, it is not a model, it is of a newer version, or its weights are not those of
            its spec.
    """
    return SavedModel.read(path, plugins).build(device, dtype)


@dataclass(frozen=True)
class SavedModel:
    """What a file holds."""

    path: Path
    spec: ModelSpec
    task: TaskSpec | None
    dtype: torch.dtype
    weights: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: str | Path, plugins: Collection[str] = ()) -> SavedModel:
        """Read a file without building the model; the arguments and errors of :func:`load_model`."""
        path = _existing(path)
        try:
            with safe_open(path, framework="pt") as opened:
                metadata = opened.metadata() or {}
                weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: not a safetensors file, or a damaged one: {error}") from None
        if "e3frame" not in metadata or "spec" not in metadata:
            raise UserError(f"{path}: a safetensors file, but not a model of e3frame")
        if int(metadata.get("format", 0)) > FORMAT:
            raise UserError(
                f"{path}: written by e3frame {metadata['e3frame']}, which is newer than this, {e3frame.__version__}\n"
                "  pip install --upgrade e3frame"
            )
        raw = json.loads(metadata["spec"])
        _allow_plugins(path, raw.get("plugins", []), plugins)
        spec = _parsed(path, ModelSpec, raw, plugins)
        task = _parsed(path, TaskSpec, json.loads(metadata["task"])) if "task" in metadata else None
        return cls(path, spec, task, getattr(torch, metadata["dtype"]), weights)

    def build(self, device: Device = "cpu", dtype: torch.dtype | str | None = None) -> Model:
        """The model with its weights; arguments as for :func:`load_model`."""
        wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced; the caller's seed is not touched
            model = self.spec.build().to(self.dtype)
        self._require_fit(model.state_dict())
        model.load_state_dict(self.weights)
        return model.to(device=device, dtype=wanted or self.dtype).eval().requires_grad_(False)

    def _require_fit(self, expected: Mapping[str, Tensor]) -> None:
        problems = [f"no {name}" for name in expected if name not in self.weights]
        problems += [f"{name} is not a part of it" for name in self.weights if name not in expected]
        problems += [
            f"{name} is {tuple(self.weights[name].shape)}, the spec needs {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in self.weights and self.weights[name].shape != tensor.shape
        ]
        if problems:
            more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise UserError(f"{self.path}: the weights do not fit the spec: {'; '.join(problems[:3])}{more}")


def cartesian_outputs(spec: ModelSpec, task: TaskSpec | None = None) -> dict[str, str]:
    """The symmetry of the indices of those outputs that are Cartesian tensors to the user, by name.

    A stress is one in any case; others are where they were trained as such.
    """
    stresses = {name: "ij=ji" for name, layer in spec.outputs.items() if isinstance(layer, StrainGradient)}
    trained = task.targets if task is not None else {}
    return stresses | {name: target.formula for name, target in trained.items() if target.formula is not None}


def _ordered(content: bytes) -> bytes:
    """The same safetensors file with its header in order, so that equal models are equal files."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.is_dir():
        inside = path / "model.safetensors"
        hint = f"\n  did you mean {inside}?" if inside.exists() else ""
        raise UserError(f"{path}: a folder, not a model file{hint}")
    if not path.exists():
        match = nearest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else None
        raise UserError(f"{path}: no such file" + (f"\n  did you mean {path.parent / match}?" if match else ""))
    return path


def _allow_plugins(path: Path, named: Collection[str], allowed: Collection[str]) -> None:
    """A file may not decide on its own what is imported."""
    stranger = untrusted(named, allowed)
    if stranger is not None:
        raise UserError(
            f"{path}: its layers need the plugin {stranger}, which is not installed as one\n  {way_to_trust(stranger)}"
        )


def _parsed(path: Path, cls: type[BaseModel], raw: Any, plugins: Collection[str] = ()) -> Any:
    try:
        return validate(cls, raw, plugins=plugins)
    except SpecErrors as errors:
        raise UserError(f"{path}: its spec is not valid here: {errors.errors[0]}") from None
