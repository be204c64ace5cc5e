"""Losses and errors against plain formulas, over batches of uneven sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from e3frame.spec.validate import validate
from e3frame.train.losses import Loss, entrywise
from e3frame.train.metrics import Errors, TaskErrors, displayed, units
from e3frame.train.pairs import pair
from e3frame.train.targets import TargetSpec, TaskSpec

TASK = validate(
    TaskSpec,
    {
        "targets": {
            "energy": {"irreps": "0e", "per": "graph", "per_atom": True, "weight": 2.0},
            "forces": {"irreps": "1o", "per": "node", "loss": "mae", "weight": 3.0, "key": "f"},
            "dipole": {"irreps": "1o", "per": "graph", "loss": "huber", "huber_delta": 0.5, "weight": 0.5},
        }
    },
)
SIZES = [[3, 1, 4], [2], [5, 2]]


def batches() -> list[tuple[dict[str, Tensor], dict[str, Tensor], Tensor]]:
    """Outputs, labels and numbers of atoms."""
    random = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    made = []
    for sizes in SIZES:
        graphs, nodes = len(sizes), sum(sizes)
        outputs = {"energy": normal(graphs, 1) - 17000.0, "forces": normal(nodes, 3), "dipole": normal(graphs, 3)}
        labels = {"energy": normal(graphs) - 17000.0, "f": normal(nodes, 3), "dipole": normal(graphs, 3)}
        made.append((outputs, labels, torch.tensor(sizes)))
    return made


def seen(errors: TaskErrors) -> Loss:
    loss = Loss(TASK)
    for outputs, labels, atoms in batches():
        errors.update(outputs, labels, atoms, loss.parts(outputs, labels, atoms))
    return loss


def test_errors_are_exact_over_uneven_batches() -> None:
    errors = TaskErrors(TASK)
    seen(errors)
    found = errors.compute()
    all_batches = batches()
    energy = torch.cat([o["energy"][:, 0] - t["energy"] for o, t, _ in all_batches])
    forces = torch.cat([o["forces"] - t["f"] for o, t, _ in all_batches])
    label = torch.cat([t["f"] for _, t, _ in all_batches])
    atoms = torch.cat([n for _, _, n in all_batches])
    per_atom = energy / atoms
    expected = {
        "energy": (energy.abs().mean(), energy.square().mean().sqrt()),
        "forces": (forces.abs().mean(), forces.square().mean().sqrt()),
    }
    for name, (mae, rmse) in expected.items():
        assert found[name].mae == pytest.approx(1000 * float(mae), rel=1e-13)
        assert found[name].rmse == pytest.approx(1000 * float(rmse), rel=1e-13)
    assert found["energy"].mae_per_atom == pytest.approx(1000 * float(per_atom.abs().mean()), rel=1e-13)
    assert found["energy"].rmse_per_atom == pytest.approx(1000 * float(per_atom.square().mean().sqrt()), rel=1e-13)
    assert found["energy"].zero_mae is None
    assert found["forces"].zero_mae == pytest.approx(1000 * float(label.abs().mean()), rel=1e-13)
    assert found["forces"].zero_rmse == pytest.approx(1000 * float(label.square().mean().sqrt()), rel=1e-13)
    assert found["forces"].mae_per_atom is None
    assert [found[name].unit for name in TASK.targets] == ["meV", "meV/Å", "e*Å"]


def test_the_loss_of_a_split_is_that_of_one_large_batch() -> None:
    errors = TaskErrors(TASK)
    loss = seen(errors)
    every = batches()
    outputs = {name: torch.cat([o[name] for o, _, _ in every]) for name in TASK.targets}
    labels = {key: torch.cat([t[key] for _, t, _ in every]) for key in ("energy", "f", "dipole")}
    atoms = torch.cat([n for _, _, n in every])
    parts = loss.parts(outputs, labels, atoms)
    whole = loss.total({name: part.mean for name, part in parts.items()})
    assert errors.loss() == pytest.approx(float(whole), rel=1e-13)

    energy = ((outputs["energy"][:, 0] - labels["energy"]) / atoms).square().mean()
    forces = (outputs["forces"] - labels["f"]).abs().mean()
    d = (outputs["dipole"] - labels["dipole"]).abs()
    dipole = torch.where(d <= 0.5, 0.5 * d.square(), 0.5 * (d - 0.25)).mean()
    assert float(whole) == pytest.approx(float(2.0 * energy + 3.0 * forces + 0.5 * dipole), rel=1e-13)


def test_reset_forgets() -> None:
    errors = TaskErrors(TASK)
    seen(errors)
    first = errors.flat()
    errors.reset()
    seen(errors)
    assert errors.flat() == first


def test_names_and_units() -> None:
    errors = TaskErrors(TASK)
    seen(errors)
    flat, shown = errors.flat(), units(TASK)
    assert flat.keys() == {"loss", *shown}
    assert {f"val_{name}" for name in flat} == set(TASK.metric_names)
    assert shown["energy_mae"] == "meV/atom"
    assert flat["energy_mae"] == errors.compute()["energy"].mae_per_atom
    assert displayed("eV/Å") == (1000.0, "meV/Å")
    assert displayed("Å^3") == (1.0, "Å^3")


ENERGY, FORCES = TASK.targets["energy"], TASK.targets["forces"]
ONES = torch.ones(4, dtype=torch.long)


def test_float32_predictions_lose_nothing_of_large_labels() -> None:
    label = torch.tensor([-17660.123456], dtype=torch.float64)
    found = pair(ENERGY, label[:, None] + 1e-6, label, ONES[:1])
    assert float(found.difference) == pytest.approx(1e-6, rel=1e-5)
    forces = torch.zeros(1, 3, dtype=torch.float32)
    assert pair(FORCES, forces, torch.ones(1, 3, dtype=torch.float64), ONES).difference.dtype == torch.float64


def test_sizes_that_do_not_agree() -> None:
    with pytest.raises(ValueError, match=r"a prediction and its label must be of one size, got \(4, 1\) and \(4, 3\)"):
        pair(ENERGY, torch.zeros(4, 1), torch.zeros(4, 3), ONES)
    with pytest.raises(ValueError, match=r"got \(2, 6\) and \(4, 3\)"):
        pair(FORCES, torch.zeros(2, 6), torch.zeros(4, 3), ONES)


def test_huber_without_a_delta_takes_the_documented_one() -> None:
    function = entrywise(TargetSpec(irreps="0e", per="graph", loss="huber"))
    x = torch.tensor([0.005, 1.0], dtype=torch.float64)
    torch.testing.assert_close(function(x), torch.tensor([0.5 * 0.005**2, 0.01 * (1 - 0.005)], dtype=torch.float64))


def test_a_watched_target_does_not_train() -> None:
    raw = {"targets": {"a": {"irreps": "0e", "per": "graph"}, "b": {"irreps": "0e", "per": "graph", "weight": 0}}}
    total = Loss(validate(TaskSpec, raw)).total({"a": torch.tensor(2.0), "b": torch.tensor(float("nan"))})
    assert float(total) == 2.0


def test_metrics_keep_float64_when_the_module_is_cast() -> None:
    errors = TaskErrors(TASK).float().half()
    seen(errors)
    assert isinstance(errors.compute()["energy"], Errors)
    assert errors.targets[0].sums.dtype == torch.float64
