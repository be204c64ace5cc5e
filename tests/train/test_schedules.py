"""Learning rates, limits and averages, step by step."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.runs import MakeConfig
from support.state import differing
from torch import nn

from e3frame.config.optimizers import OptimizerSpec
from e3frame.config.schedulers import SchedulerSpec
from e3frame.config.trainer import TrainerSpec
from e3frame.nn import FullyConnectedNet, LayerNorm
from e3frame.o3 import Linear
from e3frame.spec.errors import SpecError
from e3frame.spec.validate import validate
from e3frame.training.fit import without_validation
from e3frame.training.limits import Limits
from e3frame.training.weights import Average, parameter_groups

LR, STEPS = 0.4, 10


def rates(raw: dict[str, object], losses: list[float] | None = None) -> list[float]:
    """The learning rate of each of ten steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    done = 0
    schedules = SchedulerSpec.parse(raw).build(optimizer, lambda: done / STEPS)
    found = []
    for step in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        done = step + 1
        for schedule in schedules:
            schedule["scheduler"].step(*([losses[step]] if losses else []))
    return found


def test_cosine() -> None:
    expected = [0.05 + (LR - 0.05) * 0.5 * (1 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)]
    assert rates({"kind": "cosine", "min_lr": 0.05}) == pytest.approx(expected, rel=1e-12)


def test_warmup() -> None:
    assert rates({"kind": "constant"}) == [LR] * STEPS
    assert rates({"kind": "constant", "warmup_steps": 3}) == pytest.approx([0.1, 0.2, 0.3] + [LR] * 7)
    cosine, warmed = rates({"kind": "cosine"}), rates({"kind": "cosine", "warmup_steps": 1})
    assert warmed == pytest.approx([cosine[0] / 2, *cosine[1:]])


def test_plateau() -> None:
    raw = {"kind": "plateau", "factor": 0.5, "patience": 1, "min_lr": 0.15}
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert rates(raw, losses) == pytest.approx([LR, LR, LR, LR, 0.2, 0.2, 0.15, 0.15, 0.15, 0.15])


@pytest.mark.parametrize("kind", sorted(OptimizerSpec.members))
def test_every_optimizer_takes_a_step_downhill(kind: str) -> None:
    weights = [nn.Parameter(torch.full((1, 1), 3.0)) for _ in range(2)]
    groups = [{"params": [w], "lr": 0.1, "role": role} for w, role in zip(weights, ("matrix", "bias"), strict=True)]
    groups[0]["matrices"] = [[((1, 1), (1, 1), 0)]]
    optimizer = OptimizerSpec.parse({"kind": kind, "lr": 0.1}).build(groups)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]
    if kind == "schedule_free":
        optimizer.train()
    for _ in range(3):
        optimizer.zero_grad()
        sum(weight.square().sum() for weight in weights).backward()
        optimizer.step()
    assert all(0 < weight.item() < 3 for weight in weights)
    again = OptimizerSpec.parse({"kind": kind, "lr": 0.1}).build(groups)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert differing(again.state_dict(), optimizer.state_dict()) == []
    before = [weight.clone() for weight in weights]
    stepped = []
    for each in (optimizer, again):  # the same gradient, twice the same step
        for weight, value in zip(weights, before, strict=True):
            weight.data.copy_(value)
            weight.grad = 2 * value.detach()
        each.step()
        stepped.append([weight.item() for weight in weights])
    assert stepped[0] == stepped[1]


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(FullyConnectedNet([2, 3, 1], torch.relu, bias=True), LayerNorm("4x0e"), Linear("2x0e", "0e"))
    groups = parameter_groups(model, 0.1, lambda name: 1.0)
    assert {group["role"]: len(group["params"]) for group in groups} == {"matrix": 1, "bias": 4, "weight": 2}
    for kind, decay in (("adamw", 0.01), ("muon", 0.01), ("soap", 0.01), ("schedule_free", 0.02)):
        spec = OptimizerSpec.parse({"kind": kind, "weight_decay": decay})
        decays = {group["role"]: group["weight_decay"] for group in spec.build(groups).param_groups}
        assert decays == {"matrix": decay, "bias": 0.0, "weight": decay}
    spec = OptimizerSpec.parse({"kind": "adamw", "weight_decay": 0.01, "decay_biases": True})
    assert {group["weight_decay"] for group in spec.build(groups).param_groups} == {0.01}


@pytest.mark.parametrize("kind", ["muon", "soap"])
def test_what_needs_matrices(kind: str) -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(4))], "lr": 0.1, "role": "weight"}]
    with pytest.raises(SpecError) as caught:
        OptimizerSpec.parse({"kind": kind}).build(groups)
    assert (
        str(caught.value) == f"optimizer.kind\n  the model has no matrix that {kind} can train\n  set optimizer=adamw"
    )


def test_one_cycle() -> None:
    found = rates({"kind": "one_cycle", "rise": 0.5, "start_factor": 0.1, "end_factor": 0.0})
    assert found[0] == pytest.approx(0.1 * LR)
    assert found[5] == pytest.approx(LR)
    assert found[:6] == sorted(found[:6])
    assert found[5:] == sorted(found[5:], reverse=True)
    assert found[9] == pytest.approx(LR * 0.5 * (1 - math.cos(math.pi * 0.2)))


def test_warmup_stable_decay() -> None:
    found = rates({"kind": "warmup_stable_decay", "warmup": 0.2, "decay": 0.4, "end_factor": 0.5})
    shares = [1e-3, 0.5, 1, 1, 1, 1, 1, 0.875, 0.75, 0.625]
    assert found == pytest.approx([LR * share for share in shares])
    assert rates({"kind": "warmup_stable_decay", "warmup": 0, "decay": 1}) == pytest.approx(
        [LR * (1 - step / STEPS) for step in range(STEPS)]
    )


@pytest.mark.parametrize("kind", sorted(SchedulerSpec.members))
def test_every_scheduler_builds(kind: str) -> None:
    assert len(rates({"kind": kind}, [1.0] * STEPS if kind == "plateau" else None)) == STEPS


class FakeTrainer(SimpleNamespace):
    global_step = 0
    should_stop = False
    check_val_every_n_epoch = 5


def limits(monkeypatch: pytest.MonkeyPatch, **spec: object) -> tuple[Limits, FakeTrainer, list[float]]:
    clock = [100.0]
    monkeypatch.setattr("e3frame.training.limits.time.monotonic", lambda: clock[0])
    made, trainer = Limits(validate(TrainerSpec, spec), steps_per_epoch=4), FakeTrainer()
    made.setup(trainer, None, "fit")
    made.on_train_start(trainer, None)
    return made, trainer, clock


def test_steps_are_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made, trainer, _ = limits(monkeypatch, max_epochs=3, max_steps=10)
    for step, stops in ((9, False), (10, True)):
        trainer.global_step = step
        made.on_train_batch_end(trainer)
        assert trainer.should_stop is stops
        assert made.progress() == pytest.approx(step / 10)
    assert trainer.check_val_every_n_epoch == 1


def test_time_is_the_limit_only_where_it_is_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    made, trainer, clock = limits(monkeypatch, max_epochs=5, max_minutes=1)
    trainer.global_step, clock[0] = 1, 105.0  # a slow first step
    assert made.progress() == 1 / 20
    trainer.global_step, clock[0] = 8, 112.0
    assert made.progress() == 8 / 20
    clock[0] = 130.0
    assert made.progress() == pytest.approx(0.5)
    clock[0] = 160.0
    made.on_train_batch_end(trainer)
    assert (trainer.should_stop, made.progress()) == (True, 1.0)


def test_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _, clock = limits(monkeypatch, max_epochs=None, max_minutes=1)
    clock[0] = 103.0
    assert made.progress() == pytest.approx(0.05)


def test_time_goes_on_in_a_second_session(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _, clock = limits(monkeypatch, max_epochs=None, max_minutes=1)
    clock[0] = 120.0
    state = made.state_dict()
    clock[0] = 1000.0
    again, trainer, clock = limits(monkeypatch, max_epochs=None, max_minutes=1)
    again.load_state_dict(state)
    again.on_train_start(trainer, None)
    clock[0] += 5.0
    assert again.seconds == pytest.approx(25.0)


def test_the_average_of_the_weights() -> None:
    average = Average(0.9)
    mean, expected = torch.zeros(2), 0.0
    for count in range(1, 200):
        average([mean], [torch.full((2,), float(count))], torch.tensor(count))
        decay = min(0.9, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * count
    torch.testing.assert_close(mean, torch.full((2,), expected))


WITHOUT = "no validation frames: the best epoch has the lowest"
VAL = "set data.split.val=0.1 to validate on 10% of the frames"
FOLLOWING: list[tuple[dict[str, Any], str]] = [
    ({}, f"{WITHOUT} training loss; {VAL}"),
    ({"trainer.monitor": "val_energy_mae"}, f"{WITHOUT} train_energy_mae; {VAL}"),
    (
        {"trainer.early_stopping_patience": 2, "trainer.monitor": "val_forces_rmse"},
        f"{WITHOUT} train_forces_rmse; trainer.early_stopping_patience follows train_forces_rmse; {VAL}",
    ),
    (
        {
            "trainer.early_stopping_patience": 2,
            "scheduler": {"kind": "plateau", "patience": 1, "monitor": "val_energy_mae"},
        },
        f"{WITHOUT} training loss; trainer.early_stopping_patience follows train_loss; "
        f"scheduler=plateau follows train_energy_mae; {VAL}",
    ),
]


@pytest.mark.parametrize(("changes", "said"), FOLLOWING)
def test_options_that_want_validation(changes: dict[str, Any], said: str, make_config: MakeConfig) -> None:
    """They follow the same metric of the training where there is no validation, which is said once."""
    data = {"kind": "xyz", "path": "a.xyz", "split": {"val": 0}}
    assert without_validation(make_config({"data": data, "trainer.max_epochs": 9} | changes)) == said
