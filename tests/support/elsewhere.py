"""Training steps on devices that are not there: run as a program, it prints what failed for each layer and model.

The device ``elsewhere`` is a backend of torch in Python. Its tensors are fake: they have a device but no numbers, and
an operation on tensors of two devices fails as it does on a GPU. Derivatives work on it; on fake CUDA tensors they do
not, if torch is built for CPUs. On ``meta``, which is part of torch, fewer mixtures of devices fail. On both, reading a
number fails, which on a GPU would make the host wait.

torch knows the device for the rest of the process, hence a process of its own.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from torch import Tensor
from torch._subclasses import FakeTensorMode, fake_tensor
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.graphs import random_graph

from e3frame.compose import config_folder, read_yaml
from e3frame.config.targets import TaskSpec
from e3frame.data.pipeline.graphs import model_input
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.sample import LABELS, SampleSpec
from e3frame.evaluate.losses import Loss
from e3frame.evaluate.metrics import TaskErrors
from e3frame.layers._context import INPUTS
from e3frame.layers._context import LAYERS as BEFORE
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.layer import Gradient, LayerSpec
from e3frame.spec.statistics import Statistics
from e3frame.spec.validate import validate

R_MAX = 2.5
TOGETHER = "all layers in one model"


class Place:
    """A device, and how tensors and modules get there."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        self.mode: AbstractContextManager[Any] = nullcontext() if name == "meta" else FakeTensorMode()

    def put(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        with self.mode:
            empty = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=self.device)
        return empty.requires_grad_(value.requires_grad)

    def moved(self, module: torch.nn.Module) -> Any:
        """As ``module.to(device)``."""
        return module._apply(self.put)


def step(model: Model, graph: Mapping[str, Any], place: Place, fields: tuple[str, ...] = ()) -> None:
    """Forward, a loss of all outputs, backward, an optimizer's step."""
    place.moved(model).train()
    graph = {key: place.put(value) for key, value in graph.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with place.mode:
        outputs = model(graph, fields)
        loss = torch.stack([out.square().sum() for out in outputs.values() if out.requires_grad]).sum()
        finish(model, outputs, loss, optimizer, place)


def finish(
    model: Model, outputs: Mapping[str, Tensor], loss: Tensor, optimizer: torch.optim.Optimizer, place: Place
) -> None:
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    seen = [*outputs.values(), loss, *(p for p in model.parameters()), *(p.grad for p in model.parameters())]
    assert {t.device.type for t in seen if t is not None} == {place.device.type}
    assert any(p.grad is not None for p in model.parameters())


def of_layers(examples: Sequence[str], place: Place) -> None:
    """A model in which the layers run, none of them after another, in float32, with positions in float64."""
    own = {f"it_{number}": yaml.safe_load(example) for number, example in enumerate(examples)}
    raw = {"r_max": R_MAX, "species": ["H", "C", "O"], "inputs": INPUTS, "layers": {**yaml.safe_load(BEFORE), **own}}
    spec = validate(ModelSpec, {**raw, "outputs": {"total": {"kind": "sum", "of": "energies"}}})
    steps = [step for step in spec.typed().steps if step.path[1] in own]
    assert not {step.path[1] for step in steps} ^ set(own)
    for step_ in steps:
        read = [name.of if isinstance(name, Gradient) else name for name in step_.signature.inputs]
        assert all(name.partition(".")[0] not in set(own) - {step_.path[1]} for name in read)
    last = {step.path[1]: step.binding for step in steps}.values()
    fields = tuple(binding.key for binding in last if binding.domain != "edge")
    step(Model(spec), random_graph(1, num_nodes=6, num_graphs=2), place, fields)


STATISTICS = Statistics(
    species=("H", "C", "O", "N"),
    energy_shift={"H": -13.5, "C": -1025.0, "O": -2035.0, "N": -1480.0},
    energy_scale=1.3,
    avg_num_neighbors=3.0,
)


def preset(name: str) -> Model:
    spec = read_yaml(config_folder() / "model" / f"{name}.yaml").parse(ModelSpec)
    return Model(spec.replace(r_max=R_MAX).resolve(STATISTICS))


def of_preset(name: str, place: Place) -> None:
    step(preset(name), random_graph(2, num_nodes=6, num_graphs=2), place)


def of_data(place: Place) -> None:
    """Frames of ``data=sample`` in a batch, the losses of a task and the errors that are reported."""
    task = read_yaml(config_folder() / "task" / "energy_forces.yaml").parse(TaskSpec)
    with TemporaryDirectory() as folder:
        splits = load(SampleSpec(cache_dir=folder, num_train=8, molecules=("ethanol",)), R_MAX, LABELS)
        batch = next(iter(_loader(splits.train)))
    model = place.moved(preset("nequip_small")).train()
    batch = batch.apply(place.put)
    loss, errors = Loss(task), place.moved(TaskErrors(task))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with place.mode:
        atoms = batch.ptr.diff()
        outputs = model(model_input(batch))
        residuals = loss.residuals(outputs, batch, atoms)
        parts = loss.parts(residuals, batch, atoms)
        errors.update(residuals, atoms, parts)
        finish(model, outputs, loss.total({name: part.mean for name, part in parts.items()}), optimizer, place)


def _loader(frames: Any) -> Any:
    from torch_geometric.loader import DataLoader

    return DataLoader([frames[n] for n in range(4)], batch_size=4)


def of_mixtures(place: Place) -> None:
    """Tensors of two devices: if nobody noticed, the other cases would say nothing."""
    x = place.put(torch.ones(3, requires_grad=True))
    with place.mode:
        other = torch.zeros(1, dtype=torch.long)
        (slope,) = torch.autograd.grad(x.square().sum(), x)
        assert slope.device.type == "elsewhere"
        for mix in (lambda: x + torch.ones(3), lambda: x.index_select(0, other), lambda: torch.cat([x, other])):
            try:
                mix()
            except FakeTensorDeviceMismatchError:
                continue
            raise AssertionError("a mixture of devices went unnoticed")


def cases() -> dict[str, tuple[Callable[[Place], None], str]]:
    """By name: what is run, and on which device."""
    layers: dict[str, Callable[[Place], None]] = {
        f"layer {kind}": partial(of_layers, [layer.example]) for kind, layer in sorted(LayerSpec.members.items())
    }
    files = sorted((config_folder() / "model").glob("*.yaml"))
    models: dict[str, Callable[[Place], None]] = {f"model {path.stem}": partial(of_preset, path.stem) for path in files}
    models["data"] = of_data
    found = {f"{name} on elsewhere": (run, "elsewhere") for name, run in (layers | models).items()}
    found |= {
        f"{name} on meta": (run, "meta") for name, run in models.items() if name in ("data", "model nequip_small")
    }
    return found | {"mixtures are noticed": (of_mixtures, "elsewhere")}


def failure(run: Callable[[Place], None], device: str) -> str:
    """The traceback of a case, empty if it succeeds."""
    try:
        run(Place(device))
    except Exception:
        return traceback.format_exc()
    return ""


def main() -> None:
    """Print a JSON object: the traceback of each case, empty if it succeeded.

    All layers run in one model, which takes a third of the time; each alone only if that model fails.
    """
    _setup_privateuseone_for_python_backend("elsewhere")
    fake_tensor.CONSTANT_NUMEL_LIMIT = 0  # fake tensors of one element would be moved with their number
    together = partial(of_layers, [layer.example for _, layer in sorted(LayerSpec.members.items())])
    failed = {TOGETHER: failure(together, "elsewhere")}
    for name, (run, device) in cases().items():
        runs = not name.startswith("layer ") or failed[TOGETHER]
        failed[name] = failure(run, device) if runs else ""
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
