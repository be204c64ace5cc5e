"""Checks names, sizes, types and ranges of everything in a checkpoint.

Anyone can write a file with a valid digest, so a run continues only from a checkpoint in its own form.
"""

from __future__ import annotations

import copy
import csv
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.optim import Optimizer

from e3frame.config.init import lr_factor
from e3frame.config.run import RunConfig
from e3frame.evaluate.metrics import TaskErrors, sums
from e3frame.network import Model
from e3frame.training.checkpoint import Damaged
from e3frame.training.fit import quiet
from e3frame.training.journal import columns
from e3frame.training.weights import Averaged, parameter_groups

_MOVING = {"lr", "k", "train_mode", "weight_sum", "lr_max", "scheduled_lr"}
"""Keys in the groups of an optimizer that training changes; all others are as in the config."""
_NEVER_NEGATIVE = re.compile(r"step|n_averaged|\w+_(sq|var)")
"""Names of counts and of means of squares."""
_LARGEST = 1 << 53


def require_form(state: Mapping[str, Any], model: Model, average: Averaged | None, config: RunConfig) -> None:
    """Raise Damaged, with the place, if a state does not fit the training of this model.

    Args:
        state: nested dicts and lists, as Lightning saves them.
        model: the model before the first step.
        average: running mean of its weights, if there is one.
        config: the run.
    """
    optimizer, schedules, names = _stepped(model, config)
    for name in ("epoch", "global_step"):
        _compare(0, state.get(name), name)
    _compare([schedule.state_dict() for schedule in schedules], _part(state, "lr_schedulers", list), "lr_schedulers")
    _compare(_weights(model, average), _part(state, "state_dict", dict), "state_dict")
    for name, tensor in state["state_dict"].items():
        _require_counts(name, tensor, name)
    _compare(list(sums(TaskErrors(config.task))), _part(state, "train_errors", list), "train_errors")
    for number, held in enumerate(state["train_errors"]):
        _require_range(held[-1], f"the count in train_errors.{number}")
    _require_optimizer(optimizer.state_dict(), _part(state, "optimizer_states", list), names, state["global_step"])
    _compare(_loops(), _part(state, "loops", dict), "loops")
    _require_callbacks(_part(state, "callbacks", dict), model, config)
    _require_journal(_part(state, "journal", str), config)


def _part(state: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(state, Mapping) or not isinstance(state.get(name), kind):
        raise Damaged(f"it lacks {name}")
    return state[name]


def _stepped(model: Model, config: RunConfig) -> tuple[Optimizer, list[Any], list[str]]:
    """Return the optimizer of a copy of the model after one step, its schedules, and the names of its parameters."""
    with torch.random.fork_rng():
        trained = copy.deepcopy(model)
        optimizer = config.optimizer.build(parameter_groups(trained, config.optimizer.lr, lr_factor(config.init)))
        schedules = [given["scheduler"] for given in config.scheduler.build(optimizer, lambda: 0.0)]
        for parameter in trained.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        if hasattr(optimizer, "train"):  # schedule-free
            optimizer.train()
        optimizer.step()
    known = {parameter: name for name, parameter in trained.named_parameters()}
    names = [known[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    return optimizer, schedules, names


def _weights(model: nn.Module, average: nn.Module | None) -> dict[str, Tensor]:
    parts = {"model": model} | ({} if average is None else {"average": average})
    return {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}


def _loops() -> dict[str, Any]:
    with quiet():
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    loops = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
    return {name: getattr(trainer, name).state_dict() for name in loops}


def _require_optimizer(expected: Mapping[str, Any], held: list[Any], names: Sequence[str], steps: int) -> None:
    place = "optimizer_states.0"
    _require(len(held) == 1 and isinstance(held[0], Mapping) and held[0].keys() == expected.keys(), place)
    states, groups, found = held[0]["state"], expected["param_groups"], held[0]["param_groups"]
    _require(isinstance(states, Mapping) and states.keys() <= expected["state"].keys(), f"{place}.state")
    _compare(groups, found, f"{place}.param_groups")
    for number, (group, other) in enumerate(zip(groups, found, strict=True)):
        for key in group.keys() - _MOVING:
            _require(group[key] == other[key], f"{place}.param_groups.{number}.{key}")
        for key in group.keys() & _MOVING:
            _require_range(other[key], f"'{key}' of optimizer group {number}", min(group[key], 0))
    for key, kept in states.items():
        _compare(expected["state"][key], kept, f"{place}.state.{key}")
        for name, tensor in kept.items():
            _require_counts(name, tensor, f"optimizer state '{name}' of '{names[key]}'", steps)


def _require_callbacks(held: Mapping[str, Any], model: Model, config: RunConfig) -> None:
    _compare({"seconds": 0.0}, held.get("Limits"), "callbacks.Limits")
    _require_range(held["Limits"]["seconds"], "callbacks.Limits.seconds")
    best = {"value": 0.0, "epoch": 0, "weights": dict(model.state_dict())}
    kept = held.get("Checkpoints")
    _compare({"best": {} if kept == {"best": {}} else best}, kept, "callbacks.Checkpoints")
    patience = config.trainer.early_stopping_patience
    for name, state in held.items():
        if name.startswith("EarlyStopping") and patience is not None:
            fresh = EarlyStopping("loss", patience=patience).state_dict()
            _require(isinstance(state, Mapping) and isinstance(state.get("best_score"), Tensor), f"callbacks.{name}")
            free = {"best_score": state["best_score"], "stopping_reason_message": state.get("stopping_reason_message")}
            _compare({**fresh, **free}, state, f"callbacks.{name}")
            _require(state["best_score"].ndim == 0, f"callbacks.{name}.best_score")


def _require_journal(text: str, config: RunConfig) -> None:
    lines = list(csv.reader(text.splitlines()))
    _require(bool(lines) and lines[0] == columns(config.task), "journal")
    for row in lines[1:]:
        try:
            numbers = [float(cell) for cell in row if cell]
        except ValueError:
            numbers = []
        _require(len(row) == len(lines[0]) and len(numbers) >= 4 and row[0].isdecimal(), "journal")


def _compare(expected: Any, held: Any, place: str) -> None:
    """Raise Damaged unless ``held`` has the keys, lengths, kinds and sizes of ``expected``, and finite numbers."""
    if isinstance(expected, Mapping):
        _require(isinstance(held, Mapping) and held.keys() == expected.keys(), place)
        for key, value in expected.items():
            _compare(value, held[key], f"{place}.{key}")
    elif isinstance(expected, list | tuple):
        _require(isinstance(held, Sequence) and type(held) is type(expected) and len(held) == len(expected), place)
        for number, (value, other) in enumerate(zip(expected, held, strict=True)):
            _compare(value, other, f"{place}.{number}")
    elif isinstance(expected, Tensor):
        _require(isinstance(held, Tensor) and held.shape == expected.shape and held.dtype == expected.dtype, place)
        _require(not held.is_floating_point() or bool(torch.isfinite(held).all()), place)
    elif isinstance(expected, float):
        _require(type(held) in (int, float) and (math.isfinite(held) or math.isinf(expected)), place)
    else:
        _require(type(held) is type(expected), place)
        if type(expected) is int:
            _require(abs(held) < _LARGEST and held >= min(expected, 0), place)
        elif isinstance(expected, str):
            _require(held == expected, place)


def _require_counts(name: str, tensor: Tensor, place: str, steps: float = math.inf) -> None:
    """Raise Damaged if a tensor whose name is that of a count or a mean of squares has an impossible value."""
    last = name.rpartition(".")[-1]
    if _NEVER_NEGATIVE.fullmatch(last):
        _require_range(tensor, place, high=steps if last == "step" else math.inf)


def _require_range(held: Any, place: str, low: float = 0, high: float = math.inf) -> None:
    values = torch.as_tensor(held, dtype=torch.float64).flatten()
    for value in values[(values < low) | (values > high)].tolist():
        raise Damaged(f"{place} is {value:g}; must be {f'at least {low:g}' if value < low else f'at most {high:g}'}")


def _require(good: bool, place: str) -> None:
    if not good:
        raise Damaged(f"its {place} does not fit this training")
