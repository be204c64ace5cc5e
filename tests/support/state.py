"""Whether two runs are the same to the last bit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from e3frame.training.checkpoint import read_checkpoint


def last_state(folder: Path) -> dict[str, Any]:
    """The state at the end of a run, without its seconds."""
    checkpoint = read_checkpoint(max((folder / "checkpoints").glob("*.ckpt")))
    assert checkpoint.done
    state = checkpoint.state
    state["callbacks"]["Limits"].pop("seconds")
    state.pop("journal")
    return state


def history(folder: Path) -> list[dict[str, str]]:
    """The lines of metrics.csv, without their seconds."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def results(folder: Path) -> dict[str, Any]:
    """metrics.json, without its seconds."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metrics["run"] = {key: value for key, value in metrics["run"].items() if not key.endswith("seconds")}
    return metrics


def differing(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two nested states differ, bit for bit."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [path]
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [at for key in first for at in differing(first[key], second[key], f"{path}.{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        return [at for k, pair in enumerate(zip(first, second, strict=True)) for at in differing(*pair, f"{path}.{k}")]
    return [] if first == second and type(first) is type(second) else [path]


def assert_same_run(first: Path, second: Path) -> None:
    """Weights, their average, optimizer, schedule, metrics, lines of metrics.csv: all equal."""
    assert history(first) == history(second)
    wrong = differing(last_state(first), last_state(second))
    assert not wrong, wrong
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert results(first) == results(second)
    assert not list(second.glob("**/*.part"))
