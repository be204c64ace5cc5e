"""What does not fit together in a run config is said before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest
from support.runs import REMOVED, MakeConfig, changed

from e3frame.config.run import RunConfig
from e3frame.spec.errors import SpecError
from e3frame.spec.validate import SpecErrors, validate

ENERGY = {"irreps": "0e", "per": "graph"}

WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"task.targets.energi": ENERGY},
        "task.targets.energi\n  the model has no output 'energi'\n  did you mean energy?",
    ),
    (
        {"task.targets.energy.irreps": "1o"},
        "task.targets.energy.irreps\n  the model's output 'energy' is 1x0e, but the target is 1x1o",
    ),
    (
        {"task.targets.forces.per": "graph"},
        "task.targets.forces.per\n  the model's output 'forces' is per node, but the target is per graph",
    ),
    (
        {"task.targets.energy.key": "enrgy"},
        "task.targets.energy.key\n  the data have no label 'enrgy'\n  did you mean energy?",
    ),
    (
        {"data": {"kind": "xyz", "path": "a.xyz", "keys": {"energy": "energy"}}},
        "task.targets.forces\n  the data have no label 'forces'\n  existing labels: energy\n"
        "  if the files have it: data.keys.forces=KEY; to train without it: task=energy",
    ),
    (
        {"task.targets.energy.unit": "kcal/mol"},
        "task.targets.energy.unit\n  the unit of 'energy' must be eV, got kcal/mol\n  remove the unit of the target",
    ),
    (
        {"task.targets.energy": REMOVED},
        "model.outputs.energy.per_species_scale_shift\n"
        "  auto is computed from the labels of 'energy', but no target is named 'energy'\n"
        "  add the target (weight 0 leaves it untrained), or give numbers: {scale: 1.0, shift: 0.0}",
    ),
    (
        {
            "model.outputs.other": {"kind": "sum", "of": "readout", "per_species_scale_shift": "auto"},
            "task.targets.other": ENERGY | {"key": "energy"},
        },
        "model.outputs.other.per_species_scale_shift\n"
        "  only one output can have auto scale and shift; 'energy' has them already\n  give numbers",
    ),
    (
        {"model.species": ["H", "C"]},
        "model.species\n  the data have H, C, O, but the model's species lack O\n  add them, or write species: auto",
    ),
    (
        {"trainer.monitor": "val_force_mae"},
        "trainer.monitor\n  no metric is named val_force_mae\n  did you mean val_forces_mae?",
    ),
    (
        {"scheduler": {"kind": "plateau", "monitor": "loss"}},
        "scheduler.monitor\n  no metric is named loss\n  did you mean val_loss?",
    ),
    ({"scheduler.min_lr": 0.01}, "scheduler.min_lr\n  must be below optimizer.lr, 0.01; got 0.01"),
    (
        {"task.targets.forces.per_atom": True},
        "task.targets.forces.per_atom\n  with per: node, every value belongs to one atom already\n  remove per_atom",
    ),
    (
        {"task.targets.forces.huber_delta": 0.1},
        "task.targets.forces.huber_delta\n  huber_delta needs loss: huber, got mse\n  remove huber_delta",
    ),
    (
        {"task.targets.energy.weight": 0, "task.targets.forces.weight": 0},
        "task.targets\n  no target has a weight above 0: there is nothing to train",
    ),
    ({"task.targets.energy.weight": -1}, "task.targets.energy.weight\n  must be >= 0, got -1"),
    (
        {"task.targets.energy.loss": "rmse"},
        "task.targets.energy.loss\n  must be one of huber, mae, mse; got rmse\n  did you mean mse?",
    ),
    ({"task.targets": {}}, "task.targets\n  at least 1 must be given, got 0: {}"),
    ({"optimizer.kind": "adm"}, "optimizer.kind\n  no optimizer is named adm\n  did you mean adam?"),
    ({"optimizer.lr": 0}, "optimizer.lr\n  must be > 0, got 0"),
    ({"optimizer.betas": [0.9, 1.0]}, "optimizer.betas.1\n  must be < 1, got 1.0"),
    ({"scheduler.kind": "cosin"}, "scheduler.kind\n  no scheduler is named cosin\n  did you mean cosine?"),
    (
        {"trainer.max_epochs": "null"},
        "trainer.max_epochs\n  an integer is required, got null",
    ),
    (
        {"trainer": {"max_epochs": "no"}},
        "trainer.max_epochs\n  an integer is required, got no",
    ),
    ({"trainer.ema_decay": 1.0}, "trainer.ema_decay\n  must be < 1, got 1.0"),
    ({"trainer.epochs": 3}, "trainer.epochs\n  unknown key\n  did you mean max_epochs?"),
    (
        {"name": "a b/c"},
        "name\n  a name has only letters, digits and - _ . +, and does not begin with a dot; got a b/c",
    ),
    ({"seed": -1}, "seed\n  must be >= 0, got -1"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[next(iter(changes)) for changes, _ in WRONG])
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((SpecError, SpecErrors)) as caught:
        validate(RunConfig, changed(changes)).typed()
    first = caught.value.errors[0] if isinstance(caught.value, SpecErrors) else caught.value
    assert str(first) == message


def test_the_models_own_mistakes_have_their_path_in_the_run() -> None:
    with pytest.raises(SpecError) as caught:
        validate(RunConfig, changed({"model.layers.readout.irreps_out": "0o"})).typed()
    assert caught.value.path == ("model", "layers", "readout", "irreps_out")


def test_a_run_without_an_end() -> None:
    raw = changed({})
    raw["trainer"] = {"max_epochs": None}
    with pytest.raises(SpecErrors) as caught:
        validate(RunConfig, raw)
    assert str(caught.value.errors[0]) == (
        "trainer\n  the training has no limit\n  set max_epochs, max_steps or max_minutes"
    )


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_is_refused_where_it_is_not_installed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e3frame.config.loggers.base.find_spec", lambda name: None)
    with pytest.raises(SpecErrors) as caught:
        validate(RunConfig, changed({"logger.kind": kind}))
    assert str(caught.value.errors[0]) == (
        f"logger.kind\n  the package {kind} is not installed\n  pip install {kind}, or logger=csv"
    )
    monkeypatch.setattr("e3frame.config.loggers.base.find_spec", lambda name: object())
    assert validate(RunConfig, changed({"logger.kind": kind})).logger.kind == kind


def test_a_schedule_free_run_needs_no_schedule_and_no_average(make_config: MakeConfig) -> None:
    schedule_free = {"optimizer": {"kind": "schedule_free"}}
    hint = "  set scheduler=constant and trainer.ema_decay=null"
    assert [str(warning) for warning in make_config(schedule_free).typed().warnings] == [
        "trainer.ema_decay\n  schedule_free already averages its weights; a second average hides the first\n" + hint,
        "scheduler.kind\n  schedule_free needs no schedule\n" + hint,
    ]
    plain = {"scheduler": {"kind": "constant"}, "trainer.ema_decay": None}
    assert make_config(schedule_free | plain).typed().warnings == ()


def test_bfloat16_has_few_digits(make_config: MakeConfig) -> None:
    (warning,) = make_config({"trainer.dtype": "bf16-mixed"}).typed().warnings
    assert str(warning) == (
        "trainer.dtype\n"
        "  bfloat16 has 3 digits: enough for a first test, too few for accurate energies and forces\n"
        "  train in float32 to the end"
    )


@pytest.mark.parametrize("target", [{"irreps": "1o", "per": "node"}, {"derive": "negative_gradient", "of": "energy"}])
def test_noise_is_refused_where_forces_are_trained(make_config: MakeConfig, target: dict) -> None:
    changes = {"data.augment": {"noise": 0.01}, "task.targets.forces": target}
    with pytest.raises(SpecError) as caught:
        make_config(changes).typed()
    assert str(caught.value) == (
        "data.augment.noise\n"
        "  atoms are shifted, but 'forces' is not: a shift of 0.01 Å changes forces by about 0.5 eV/Å\n"
        "  remove data.augment, or set task.targets.forces.weight=0"
    )
    (warning,) = make_config(changes | {"task.targets.forces": {**target, "weight": 0}}).typed().warnings
    assert str(warning) == (
        "data.augment.noise\n"
        "  atoms are shifted, but the label of 'energy' is not\n"
        "  use augment for relaxed structures, not for trajectories"
    )


def test_untrained_forces_are_said_aloud(make_config: MakeConfig) -> None:
    (warning,) = make_config({"task.targets.forces": REMOVED}).typed().warnings
    assert str(warning) == (
        "model.outputs.forces\n"
        "  no target trains the output 'forces': it is only derived from 'energy', and much less accurate than "
        "with a target\n"
        "  if the data have forces, add task.targets.forces"
    )


def test_an_untrained_output_without_labels(make_config: MakeConfig) -> None:
    (warning,) = make_config({"model.outputs.gap": {"kind": "mean", "of": "readout"}}).typed().warnings
    assert str(warning) == "model.outputs.gap\n  no target trains the output 'gap'\n  add a target, or remove it"


def test_what_fits_has_no_warnings_and_knows_its_statistics(make_config: MakeConfig) -> None:
    typed = make_config().typed()
    assert typed.warnings == ()
    assert (typed.energy_label, typed.forces_label) == ("energy", "forces")


def test_statistics_follow_the_labels_keys(make_config: MakeConfig) -> None:
    data = {"kind": "xyz", "path": "a.xyz", "keys": {"e": "E", "f": "F"}}
    targets = {"task.targets.energy.key": "e", "task.targets.forces.key": "f"}
    raw = changed({"data": data} | targets)
    typed = validate(RunConfig, raw).typed()
    assert (typed.energy_label, typed.forces_label) == ("e", "f")
    assert set(typed.config.task.labels) == {"e", "f"}


def test_a_config_survives_json(make_config: MakeConfig) -> None:
    config = make_config()
    assert validate(RunConfig, config.model_dump(mode="json")) == config
