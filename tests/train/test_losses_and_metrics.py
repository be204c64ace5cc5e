"""Losses and errors against plain formulas, over batches of uneven sizes."""

from __future__ import annotations

import pytest
import torch
from support.graphs import random_o3
from torch import Tensor

from e3frame.algebra.irreps import Irreps
from e3frame.config.targets import TargetSpec, TaskSpec
from e3frame.evaluate.breakdown import by_irrep, by_species, frame_errors, r2
from e3frame.evaluate.losses import Loss, Sum
from e3frame.evaluate.metrics import Errors, TaskErrors, displayed, units
from e3frame.evaluate.residuals import Residual, residual
from e3frame.io.cartesian import CartesianTensor
from e3frame.spec.validate import validate

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


def parts_of(loss: Loss, outputs: dict[str, Tensor], batch: dict[str, Tensor], atoms: Tensor) -> dict[str, Sum]:
    return loss.parts(loss.residuals(outputs, batch, atoms), batch, atoms)


def take(errors: TaskErrors, loss: Loss, outputs: dict[str, Tensor], batch: dict[str, Tensor], atoms: Tensor) -> None:
    residuals = loss.residuals(outputs, batch, atoms)
    errors.update(residuals, atoms, loss.parts(residuals, batch, atoms))


def seen(errors: TaskErrors) -> Loss:
    loss = Loss(TASK)
    for outputs, labels, atoms in batches():
        take(errors, loss, outputs, labels, atoms)
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
    assert [found[name].unit for name in TASK.targets] == ["meV", "meV/Å", "e·Å"]


def test_the_loss_of_a_split_is_that_of_one_large_batch() -> None:
    errors = TaskErrors(TASK)
    loss = seen(errors)
    every = batches()
    outputs = {name: torch.cat([o[name] for o, _, _ in every]) for name in TASK.targets}
    labels = {key: torch.cat([t[key] for _, t, _ in every]) for key in ("energy", "f", "dipole")}
    atoms = torch.cat([n for _, _, n in every])
    parts = parts_of(loss, outputs, labels, atoms)
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
    assert displayed("Å^3") == (1.0, "Å³")


ENERGY, FORCES = TASK.targets["energy"], TASK.targets["forces"]
ONES = torch.ones(4, dtype=torch.long)


def test_float32_predictions_lose_nothing_of_large_labels() -> None:
    label = torch.tensor([-17660.123456], dtype=torch.float64)
    found = residual(ENERGY, label[:, None] + 1e-6, label, ONES[:1])
    assert float(found.difference) == pytest.approx(1e-6, rel=1e-5)
    forces = torch.zeros(1, 3, dtype=torch.float32)
    assert residual(FORCES, forces, torch.ones(1, 3, dtype=torch.float64), ONES).difference.dtype == torch.float64


def test_sizes_that_do_not_agree() -> None:
    with pytest.raises(ValueError, match=r"prediction and label must have the same size; got \(4, 1\) and \(4, 3\)"):
        residual(ENERGY, torch.zeros(4, 1), torch.zeros(4, 3), ONES)
    with pytest.raises(ValueError, match=r"got \(2, 6\) and \(4, 3\)"):
        residual(FORCES, torch.zeros(2, 6), torch.zeros(4, 3), ONES)


def test_huber_without_a_delta_takes_the_documented_one() -> None:
    target = TargetSpec(irreps="0e", per="graph", loss="huber")
    x = torch.tensor([0.005, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.5 * 0.005**2, 0.01 * (1 - 0.005)], dtype=torch.float64)
    torch.testing.assert_close(target.loss_spec.each(x), expected)


def test_a_watched_target_does_not_train() -> None:
    raw = {"targets": {"a": {"irreps": "0e", "per": "graph"}, "b": {"irreps": "0e", "per": "graph", "weight": 0}}}
    total = Loss(validate(TaskSpec, raw)).total({"a": torch.tensor(2.0), "b": torch.tensor(float("nan"))})
    assert float(total) == 2.0


def test_metrics_keep_float64_when_the_module_is_cast() -> None:
    errors = TaskErrors(TASK).float().half()
    seen(errors)
    assert isinstance(errors.compute()["energy"], Errors)
    assert errors.targets["energy"].sums.dtype == torch.float64


def single(**keys: object) -> tuple[TaskSpec, Loss]:
    task = validate(TaskSpec, {"targets": {"it": keys}})
    return task, Loss(task)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["mse", "mae", "huber"])
def test_missing_labels_are_left_out(kind: str) -> None:
    """Loss, gradients and errors are those of the labelled frames alone."""
    task, loss = single(irreps="1o", per="graph", loss=kind)
    prediction, label, atoms = normal(1, 5, 3), normal(2, 5, 3), torch.tensor([2, 3, 1, 4, 2])
    label[[1, 4]] = torch.nan
    there = [0, 2, 3]
    found, expected = TaskErrors(task), TaskErrors(task)
    gradients = []
    for rows, errors in ((range(5), found), (there, expected)):
        x = prediction[list(rows)].clone().requires_grad_()
        outputs, batch = {"it": x}, {"it": label[list(rows)]}
        parts = parts_of(loss, outputs, batch, atoms[list(rows)])
        gradients.append(torch.autograd.grad(loss.total({"it": parts["it"].mean}), x)[0])
        take(errors, loss, outputs, batch, atoms[list(rows)])
    torch.testing.assert_close(gradients[0][there], gradients[1])
    assert (gradients[0][[1, 4]] == 0).all()
    assert found.flat() == pytest.approx(expected.flat(), rel=1e-14)
    assert found.loss() == pytest.approx(expected.loss(), rel=1e-14)


def test_a_batch_without_labels_contributes_zero() -> None:
    task, loss = single(irreps="1o", per="graph")
    x = normal(1, 2, 3).requires_grad_()
    batch, atoms = {"it": torch.full((2, 3), torch.nan)}, torch.tensor([1, 1])
    parts = parts_of(loss, {"it": x}, batch, atoms)
    total = loss.total({"it": parts["it"].mean})
    total.backward()
    assert float(total.detach()) == 0
    assert (x.grad == 0).all()
    errors = TaskErrors(task)
    take(errors, loss, {"it": x}, batch, atoms)
    assert errors.compute() == {}
    assert errors.flat() == {"loss": 0.0}


def test_weights_follow_the_epochs() -> None:
    raw = {"a": {"irreps": "0e", "per": "graph", "weight": {0: 0, 2: 3}}, "b": {"irreps": "0e", "per": "graph"}}
    loss, means = Loss(validate(TaskSpec, {"targets": raw})), {"a": torch.tensor(2.0), "b": torch.tensor(5.0)}
    assert [float(loss.total(means, epoch)) for epoch in (0, 1, 2, 9)] == [5, 5, 11, 11]
    assert float(loss.total(means)) == 11


def test_an_epoch_in_which_nothing_weighs_keeps_the_graph() -> None:
    _, loss = single(irreps="0e", per="graph", weight={0: 0, 2: 3})
    x = torch.tensor(2.0, requires_grad=True)
    loss.total({"it": x}, 0).backward()
    assert x.grad == 0


@pytest.mark.parametrize("kind", ["mse", "huber", "mae"])
def test_weights_of_components_and_species(kind: str) -> None:
    weights = {"component_weights": [2.0, 0.5], "species_weights": {"O": 3.0}}
    _, loss = single(irreps="0e + 1o", per="node", loss=kind, **weights)
    prediction, label, z = normal(1, 4, 4), normal(2, 4, 4), torch.tensor([1, 8, 6, 8])
    part = parts_of(loss, {"it": prediction}, {"it": label, "z": z}, torch.tensor([4]))["it"]
    plain = loss.losses["it"].each(prediction - label)
    expected = torch.tensor([[1.0], [3], [1], [3]]) * torch.tensor([2.0, 0.5, 0.5, 0.5]) * plain
    torch.testing.assert_close(part.mean, expected.mean())


def test_the_loss_of_a_cartesian_tensor_does_not_depend_on_the_orientation() -> None:
    task, loss = single(cartesian="ij=ji", per="graph", component_weights=[1.0, 7.0])
    cartesian = CartesianTensor("ij=ji")
    a, b = (cartesian.to_cartesian(normal(seed, 5, 6)) for seed in (1, 2))
    turn = random_o3(3, inversion=True)
    values = []
    for x, y in ((a, b), (turn @ a @ turn.T, turn @ b @ turn.T)):
        outputs, batch = {"it": cartesian.from_cartesian(x)}, {"it": y}
        values.append(parts_of(loss, outputs, batch, torch.ones(5))["it"].mean)
    torch.testing.assert_close(values[0], values[1])
    errors = TaskErrors(task)
    outputs = {"it": cartesian.from_cartesian(a)}
    take(errors, loss, outputs, {"it": b}, torch.ones(5))
    assert errors.compute()["it"].mae == pytest.approx(float((a - b).abs().mean()), rel=1e-12)
    assert errors.compute()["it"].zero_rmse == pytest.approx(float(b.square().mean().sqrt()), rel=1e-12)


def test_a_sum_over_atoms_is_compared_with_its_label() -> None:
    _, loss = single(irreps="0e", per="node", sum="total_charge")
    charges, atoms = normal(1, 5, 1), torch.tensor([2, 3])
    part = parts_of(loss, {"it": charges}, {"total_charge": torch.tensor([0.0, -1.0])}, atoms)["it"]
    expected = (charges[:2].sum().square() + (charges[2:].sum() + 1).square()) / 2
    torch.testing.assert_close(part.mean, expected)


def test_the_share_of_the_spread_that_is_explained() -> None:
    both = Residual(normal(1, 50, 4), normal(2, 50, 4) + 7.0)
    scalar, vector = both.label[:, :1], both.label[:, 1:]
    spread = (scalar - scalar.mean()).square().sum() + vector.square().sum()
    expected = 1 - (both.prediction - both.label).square().sum() / spread
    assert r2(both, Irreps("0e + 1o")) == pytest.approx(float(expected), rel=1e-12)
    assert r2(Residual(both.label, both.label), Irreps("0e + 1o")) == 1
    constant = torch.full((5, 1), -17000.1, dtype=torch.float64)
    assert r2(Residual(constant + 1, constant), Irreps("0e")) is None


def test_what_reference_energies_explain_is_no_merit() -> None:
    """However large they are: a model that knows the composition alone gets 0 at most, a perfect one 1; and the number
    does not depend on where the energies of the elements are."""
    composition = torch.randint(1, 9, (60, 3), generator=torch.Generator().manual_seed(3)).to(torch.float64)
    rest, error = normal(4, 60, 1), 0.1 * normal(5, 60, 1)
    found = []
    for elements in ([-1.0, -2.0, -3.0], [-13.6, -1029.0, -2041.0]):
        label = composition @ torch.tensor(elements, dtype=torch.float64)[:, None] + rest
        fit = composition @ torch.linalg.lstsq(composition, label).solution
        assert r2(Residual(fit, label), Irreps("0e"), composition) == pytest.approx(0.0, abs=1e-9)
        assert r2(Residual(fit, label), Irreps("0e")) > 0.9
        assert r2(Residual(fit + 0.1, label), Irreps("0e"), composition) < 0
        assert r2(Residual(label, label), Irreps("0e"), composition) == 1
        found.append(r2(Residual(label + error, label), Irreps("0e"), composition))
        expected = 1 - error.square().sum() / (label - fit).square().sum()
        assert found[-1] == pytest.approx(float(expected), rel=1e-9)
        assert r2(Residual(fit + 1, fit), Irreps("0e"), composition) is None
    assert found[0] == pytest.approx(found[1], rel=1e-8)
    same = composition[:1].expand(60, 3)  # one molecule: the mean
    assert r2(Residual(rest + error, rest), Irreps("0e"), same) == pytest.approx(
        r2(Residual(rest + error, rest), Irreps("0e"))
    )


def test_errors_by_irrep_and_species() -> None:
    both = Residual(normal(1, 6, 5), normal(2, 6, 5))
    both.label[2] = torch.nan
    difference = (both.prediction - both.label)[[0, 1, 3, 4, 5]]
    found = by_irrep(both, Irreps("0e + 1o + 0e"), 1000.0)
    assert list(found) == ["0e", "1o"]
    assert found["0e"]["mae"] == pytest.approx(1000 * float(difference[:, [0, 4]].abs().mean()))
    assert found["1o"]["rmse"] == pytest.approx(1000 * float(difference[:, 1:4].square().mean().sqrt()))
    assert by_irrep(both, Irreps("5x0e"), 1.0) == {}
    species = torch.tensor([0, 2, 0, 2, 2, 0])
    found = by_species(both, species, ("H", "C", "O"), 1.0)
    assert list(found) == ["H", "O"]
    assert found["H"]["mae"] == pytest.approx(float(difference[[0, 4]].abs().mean()))
    assert by_species(both, torch.zeros(6), ("H", "C"), 1.0) == {}


def test_errors_of_frames() -> None:
    both = Residual(normal(1, 5, 3), normal(2, 5, 3))
    both.label[2] = torch.nan
    found = frame_errors(both, torch.tensor([2, 1, 2]))
    difference = (both.prediction - both.label).square()
    expected = torch.stack(
        [difference[:2].mean().sqrt(), torch.tensor(torch.nan).double(), difference[3:].mean().sqrt()]
    )
    torch.testing.assert_close(found, expected, equal_nan=True)
