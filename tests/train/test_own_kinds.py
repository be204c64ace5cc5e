"""Layers, modules, optimizers and schedules that derive from none of ours are treated as ours are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pytest
import torch
from ase import Atoms
from support.runs import MakeConfig
from torch import Tensor, nn

from e3frame.algebra.irreps import Irreps
from e3frame.config.optimizers import Groups, OptimizerSpec
from e3frame.config.schedulers import SchedulerSpec
from e3frame.data.pipeline.loader import load
from e3frame.evaluate.evaluation import evaluate_split
from e3frame.inference.predictor import Predictor
from e3frame.inference.saved import save_model
from e3frame.nn.parameters import Role, Rows
from e3frame.run.transfer import _copy
from e3frame.spec.errors import SpecError
from e3frame.spec.layer import (
    BATCH,
    DTYPE,
    NUM_GRAPHS,
    POS,
    SPECIES,
    Gradient,
    LayerSpec,
    Scope,
    Signature,
    TensorType,
)
from e3frame.spec.registry import Kinded
from e3frame.spec.scale_shift import AutoScaleShift, ScaleShift
from e3frame.spec.statistics import Statistics
from e3frame.spec.validate import SpecErrors
from e3frame.training.fit import without_validation
from e3frame.training.weights import parameter_groups


class Total(nn.Module):
    def __init__(self, scale: list[float], shift: list[float]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("shift", torch.tensor(shift))

    def of_nodes(self, x: Tensor, species: Tensor) -> Tensor:
        return (x * self.scale[species, None] + self.shift[species, None]).double()

    def forward(self, x: Tensor, species: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        nodes = self.of_nodes(x, species)
        return nodes.new_zeros(num_graphs, 1).index_add(0, batch, nodes)


class Scaled(nn.Module):
    """A norm whose only weights are scales, and a table with a row for each species."""

    parameter_roles: ClassVar[dict[str, Role]] = {"gain": "bias"}

    def __init__(self, species: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))
        self.table = nn.Parameter(torch.randn(8, species))

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        return x * self.gain * self.table.T[species]

    def species_rows(self) -> Mapping[str, Sequence[Rows]]:
        return {"table": [Rows(self.table, axis=1)]}


class Negative(nn.Module):
    def forward(self, gradient: Tensor, dtype: torch.dtype) -> Tensor:
        return -gradient.to(dtype)


@pytest.fixture(autouse=True)
def own_kinds() -> Iterator[None]:
    """Kinds of a plugin, for the time of a test."""

    class OwnTotal(LayerSpec):
        kind: Literal["own_total"] = "own_total"
        per_species_scale_shift: AutoScaleShift | None = None

        @property
        def extensive(self) -> bool:
            return True

        @property
        def scale_shift(self) -> ScaleShift | None:
            return self.per_species_scale_shift

        def infer(self, scope: Scope) -> Signature:
            x = scope.read("readout", "node", "of")
            return Signature((x.key, SPECIES, BATCH, NUM_GRAPHS), TensorType(x.irreps, "graph"))

        def build(self, scope: Scope) -> nn.Module:
            assert self.per_species_scale_shift is not None
            assert scope.species is not None
            return Total(*self.per_species_scale_shift.values(scope.species))

    class OwnScaled(LayerSpec):
        kind: Literal["own_scaled"] = "own_scaled"
        of: str = "act"

        def infer(self, scope: Scope) -> Signature:
            x = scope.read(self.of, "node", "of")
            return Signature((x.key, SPECIES), TensorType(x.irreps, "node"))

        def build(self, scope: Scope) -> nn.Module:
            return Scaled(scope.num_species)

    class OwnForces(LayerSpec):
        kind: Literal["own_forces"] = "own_forces"
        derives = "forces"
        of: str

        def infer(self, scope: Scope) -> Signature:
            energy = scope.read(self.of, "graph", "of")
            return Signature((Gradient(energy.key, POS), DTYPE), TensorType(Irreps("1o"), "node"))

        def build(self, scope: Scope) -> nn.Module:
            return Negative()

    class OwnSchedule(SchedulerSpec):
        kind: Literal["own_schedule"] = "own_schedule"
        monitor: str = "val_forces_mae"
        min_lr: float = 0.0

        @property
        def monitored(self) -> str:
            return self.monitor

        @property
        def lowest_lr(self) -> float:
            return self.min_lr

        def build(self, optimizer: torch.optim.Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
            return []

    class OwnAverage(OptimizerSpec):
        kind: Literal["own_average"] = "own_average"
        averages = True

        def build(self, groups: Groups) -> torch.optim.Optimizer:
            return torch.optim.SGD(groups, self.lr)

    yield
    families: list[type[Kinded]] = [LayerSpec, SchedulerSpec, OptimizerSpec]
    for family in families:
        for kind in [kind for kind in family.members if kind.startswith("own_")]:
            del family.members[kind]


ENERGY = {"kind": "own_total", "per_species_scale_shift": "auto"}
FORCES = {"kind": "own_forces", "of": "energy"}
DERIVED = {"derive": "own_forces", "of": "energy"}


def test_a_sum_and_a_gradient_of_ones_own(make_config: MakeConfig, tmp_path: Any) -> None:
    changes = {"model.outputs": {"energy": ENERGY}, "task.targets.forces": DERIVED}
    config = make_config(changes)
    assert config.model.outputs["forces"].kind == "own_forces"  # added because the target derives it
    typed = config.typed()
    assert (typed.energy_label, typed.forces_label, typed.is_mean) == ("energy", "forces", False)
    assert typed.shifts is not None
    assert typed.shifts.label == "energy"
    statistics = Statistics(
        species=("H", "C", "O"), energy_shift={"H": -1.0, "C": -2.0, "O": -3.0}, energy_scale=2.0, avg_num_neighbors=9.0
    )
    model = config.model.resolve(statistics).build().eval()
    splits = load(config.data, config.model.r_max, config.task.labels)
    assert evaluate_split(model, splits.test, config.task).errors["energy"].r2 is not None
    predictor = Predictor(save_model(model, tmp_path / "own.safetensors", config.task))
    assert "stress" in predictor.outputs
    atoms = Atoms("OCH2", [[0, 0, 1.2], [0, 0, 0], [0, 0.9, -0.5], [0, -0.9, -0.5]])
    (values,) = predictor.run([predictor.graph(atoms)])
    assert values["energies"].sum() == pytest.approx(values["energy"].item())


def test_forces_that_follow_from_an_energy_alone(make_config: MakeConfig) -> None:
    config = make_config(
        {
            "model.outputs": {"energy": ENERGY, "forces": FORCES},
            "task.targets": {"energy": {"irreps": "0e", "per": "graph"}},
        }
    )
    assert "it is only derived from 'energy'" in "\n".join(map(str, config.typed().warnings))


def test_noise_would_make_derived_labels_wrong(make_config: MakeConfig) -> None:
    changes = {
        "model.outputs": {"energy": ENERGY},
        "task.targets": {
            "energy": {"irreps": "0e", "per": "graph", "weight": 0.0},
            "pull": {**DERIVED, "key": "forces"},
        },
    }
    with pytest.raises(SpecError, match="atoms are shifted, but 'pull' is not"):
        make_config({**changes, "data.augment": {"noise": 0.01}}).typed()


def test_the_target_names_the_kinds_that_derive(make_config: MakeConfig) -> None:
    with pytest.raises(SpecErrors) as caught:
        make_config({"task.targets.forces": {"derive": "own_force", "of": "energy"}})
    problem = "must be one of negative_gradient, own_forces, strain_gradient; got own_force"
    assert problem in str(caught.value.args[0])
    assert "did you mean own_forces?" in str(caught.value.args[0])


def test_a_norm_and_a_table_of_ones_own(make_config: MakeConfig) -> None:
    changes = {"model.layers.readout": {"kind": "linear", "of": "scaled", "irreps_out": "0e"}}
    config = make_config(changes)
    layers = config.model.layers
    model = config.model.replace(layers={**layers, "scaled": LayerSpec.parse({"kind": "own_scaled"})})
    order = [name for name in layers if name != "readout"] + ["scaled", "readout"]
    model = model.replace(layers={name: model.layers[name] for name in order}, species=("H", "C", "O"))
    zeros = dict.fromkeys("HCO", 0.0)
    statistics = Statistics(species=("H", "C", "O"), energy_shift=zeros, energy_scale=1.0, avg_num_neighbors=9.0)
    built = model.resolve(statistics).build()
    groups = {group["role"]: group["params"] for group in parameter_groups(built, 0.1, lambda name: 1.0)}
    scaled = built.layers["scaled"]
    assert any(parameter is scaled.gain for parameter in groups["bias"])
    assert any(parameter is scaled.table for parameter in groups["weight"])


def test_rows_of_species_are_kept_one_by_one() -> None:
    torch.manual_seed(0)
    trained, new = Scaled(3), Scaled(4)
    before = new.table.detach().clone()
    with torch.no_grad():
        trained.gain.fill_(2.0)
        _copy(new, trained, [2, None, 0, 1])
    assert torch.equal(new.gain, trained.gain)
    assert torch.equal(new.table[:, [0, 2, 3]], trained.table[:, [2, 0, 1]])
    assert torch.equal(new.table[:, 1], before[:, 1])


def test_a_schedule_that_monitors(make_config: MakeConfig) -> None:
    config = make_config({"scheduler": {"kind": "own_schedule"}})
    config.typed()
    assert config.monitors == ("val_loss", "val_forces_mae")
    assert "scheduler=own_schedule follows train_forces_mae" in without_validation(config)
    with pytest.raises(SpecError, match=r"scheduler.monitor\n  no metric is named val_force_mae"):
        make_config({"scheduler": {"kind": "own_schedule", "monitor": "val_force_mae"}}).typed()
    with pytest.raises(SpecError, match=r"scheduler.min_lr\n  must be below optimizer.lr, 0.01; got 1"):
        make_config({"scheduler": {"kind": "own_schedule", "min_lr": 1.0}}).typed()


def test_an_optimizer_that_averages(make_config: MakeConfig) -> None:
    warnings = [str(w) for w in make_config({"optimizer": {"kind": "own_average"}}).typed().warnings]
    assert any("own_average already averages its weights" in warning for warning in warnings)
    assert any("own_average needs no schedule" in warning for warning in warnings)
