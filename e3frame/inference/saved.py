"""A trained model in one file: weights as safetensors, the resolved spec in the header. No pickle, no code."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from e3frame.config.header import FORMAT, Header, Held, not_a_model, read_bytes, written_origins
from e3frame.config.targets import TaskSpec
from e3frame.files.written import replace_file
from e3frame.inference.device import Device, read_device, read_dtype, without_modes
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.base import shown
from e3frame.spec.errors import FileError
from e3frame.spec.quantities import QUANTITIES
from e3frame.version import __version__


def save_model(model: Model, path: str | Path, task: TaskSpec | None = None, origin: str | None = None) -> Path:
    """Write a model into one file, in one step.

    Args:
        model: a model with a resolved spec.
        path: the file; its name ends in ``.safetensors`` by convention.
        task: the task of the training, from which an evaluation takes labels and their units.
        origin: what the model was converted from, such as ``mace-torch 0.3.16``.
    """
    path = Path(path)
    metadata = {
        "e3frame": __version__,
        "format": str(FORMAT),
        "dtype": str(model.dtype).removeprefix("torch."),
        "spec": model.spec.model_dump_json(),
    }
    if model.spec.plugins:
        metadata["plugins"] = written_origins(model.spec.plugins)
    if task is not None:
        metadata["task"] = task.model_dump_json()
    if origin is not None:
        metadata["origin"] = origin
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    return replace_file(path, _ordered(save(weights, metadata)))


def load_model(
    path: str | Path,
    device: Device = "cpu",
    dtype: torch.dtype | str | None = None,
    plugins: Collection[str] = (),
) -> Model:
    """Load a model from a file of :func:`save_model`, in eval mode and with frozen weights.

    Args:
        path: the file, the folder of its run, or ``runs/<name>`` for the newest run of that name.
        device: device of the model.
        dtype: type of the weights, such as float64; None: that of the training, which repeats its predictions.
        plugins: modules named by the model's spec that may be imported. Installed plugins need not be listed.

    Raises:
        UserError: the file does not exist, is not a model or is of a newer version, its weights do not fit its spec or
            are not finite, or there is no such device.
    """
    return SavedModel.read(path, plugins).build(device, dtype)


@dataclass(frozen=True)
class SavedModel:
    """A model file whose header has been read."""

    header: Header

    @classmethod
    def read(cls, path: str | Path, plugins: Collection[str] = ()) -> SavedModel:
        """Read the header of a file, and not yet its weights; the arguments and errors of :func:`load_model`."""
        return cls(Header.read(path, plugins))

    @property
    def path(self) -> Path:
        return self.header.path

    @property
    def spec(self) -> ModelSpec:
        return self.header.spec

    @property
    def task(self) -> TaskSpec | None:
        return self.header.task

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights in the training."""
        return read_dtype(self.header.dtype)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors of the file by name.

        Raises:
            FileError: the file has changed since its header was read.
        """
        held = self.header.tensors
        count = max((each.end for each in held.values()), default=0)
        content = bytearray(read_bytes(self.path, self.header.start, count))
        if len(content) < count:
            raise not_a_model(self.path, "it changed while it was read")
        return {name: _tensor(each, content) for name, each in held.items()}

    def build(
        self, device: Device = "cpu", dtype: torch.dtype | str | None = None, spec: ModelSpec | None = None
    ) -> Model:
        """The model with its weights; arguments and errors as for :func:`load_model`.

        Args:
            spec: the spec of the file with further outputs without weights; None: that of the file.
        """
        device, wanted = read_device(device), self.dtype if dtype is None else read_dtype(dtype)
        with without_modes(device):
            with torch.random.fork_rng(devices=[]):  # initial weights are replaced; the caller's random state stays
                model = (spec or self.spec).build().to(self.dtype)
            self._require_fit(model.state_dict())
            weights = self.weights
            self._require_finite(weights)
            model.load_state_dict(weights)
            return model.to(device=device, dtype=wanted).eval().requires_grad_(False)

    def _require_fit(self, expected: Mapping[str, Tensor]) -> None:
        held = self.header.tensors
        wanted = {name: (_NAMES.get(tensor.dtype), tuple(tensor.shape)) for name, tensor in expected.items()}
        problems = [f"no {name}" for name in wanted if name not in held]
        problems += [f"the model has no weight {shown(name)}" for name in held if name not in wanted]
        problems += [
            f"{name} is {held[name].dtype} {held[name].shape}, but the spec needs {dtype} {shape}"
            for name, (dtype, shape) in wanted.items()
            if name in held and (held[name].dtype, held[name].shape) != (dtype, shape)
        ]
        if problems:
            more = f", and {len(problems) - 2} more" if len(problems) > 2 else ""
            raise not_a_model(self.path, f"its weights do not fit its spec: {'; '.join(problems[:2])}{more}")

    def _require_finite(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            bad = int((~torch.isfinite(tensor)).sum())
            if bad:
                problem = f"{bad:,} of the {tensor.numel():,} numbers in {name} are not finite"
                hint = "its training failed, or the file was changed: use the model of another run"
                raise FileError(self.path, problem, hint)


_TORCH = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TORCH.items()}


def _tensor(held: Held, content: bytearray) -> Tensor:
    if held.begin == held.end:
        return torch.empty(held.shape, dtype=_TORCH[held.dtype])
    rows = torch.frombuffer(memoryview(content)[held.begin : held.end], dtype=torch.uint8).clone()
    return rows.view(_TORCH[held.dtype]).reshape(held.shape)


def cartesian_outputs(spec: ModelSpec, task: TaskSpec | None = None) -> dict[str, str]:
    """Index symmetry of the outputs that are Cartesian tensors, by name: stresses, and outputs trained as such."""
    derived = {name: QUANTITIES[layer.derives] for name, layer in spec.outputs.items() if layer.derives is not None}
    tensors = {name: quantity.cartesian for name, quantity in derived.items() if quantity.cartesian is not None}
    trained = task.targets if task is not None else {}
    return tensors | {name: target.formula for name, target in trained.items() if target.formula is not None}


def _ordered(content: bytes) -> bytes:
    """The safetensors file with a sorted header, so that equal models give equal files."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]
