"""Runs that start from a trained model."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support.runs import Finished, MakeConfig, run

from e3frame.compose import Composer, compose_config, load_run
from e3frame.config.init import lr_factor
from e3frame.data.pipeline.graphs import model_input
from e3frame.data.pipeline.loader import load
from e3frame.inference.saved import load_model
from e3frame.network import Model
from e3frame.run.transfer import apply
from e3frame.spec.errors import SpecError
from e3frame.spec.statistics import Statistics
from e3frame.training.weights import parameter_groups

RESOLVED = Statistics(
    species=("H", "C", "N", "O"),
    energy_shift=dict.fromkeys("HCNO", 0.0),
    energy_scale=1.0,
    avg_num_neighbors=99.0,
)


def built(make_config: MakeConfig, changes: dict[str, Any], statistics: Statistics = RESOLVED) -> Model:
    config = make_config(changes)
    transfer = config.typed().transfer
    torch.manual_seed(0)
    model = transfer.known(config.model).resolve(statistics).build()
    apply(transfer, model)
    return model


def test_the_same_model_predicts_the_same(finished: Finished, make_config: MakeConfig) -> None:
    changes = {"init": {"model": str(finished.folder)}, "model.outputs.energy.per_species_scale_shift": None}
    model = built(make_config, changes, RESOLVED.model_copy(update={"species": ("H", "C", "O")}))
    config = finished.config
    batch = model_input(next(iter(load(config.data, config.model.r_max, config.task.labels).test[:4])))
    trained = load_model(finished.result.model)
    scale = float(trained.layers["energy"].scale_shift.scale[0])
    expected = trained(batch)["forces"] / scale
    torch.testing.assert_close(model(batch)["forces"], expected, rtol=1e-4, atol=1e-6)


def test_a_new_species_leaves_the_others_as_they_were(finished: Finished, make_config: MakeConfig) -> None:
    model = built(make_config, {"init": {"model": str(finished.folder)}, "data.molecules": None})
    trained = load_model(finished.result.model)
    torch.manual_seed(0)
    config = finished.config.replace(model=finished.config.model.resolve(RESOLVED))
    fresh = config.model.build()
    for new, old in ((0, 0), (1, 1), (3, 2)):
        assert torch.equal(model.layers["species"].weight[new], trained.layers["species"].weight[old])
    assert torch.equal(model.layers["species"].weight[2], fresh.layers["species"].weight[2])
    config = finished.config
    splits = load(config.data, config.model.r_max, config.task.labels)
    graph = model_input(splits.test[0])
    scaled = model(graph)["forces"] * trained.layers["energy"].scale_shift.scale[0]
    torch.testing.assert_close(scaled, trained(graph)["forces"], rtol=1e-4, atol=1e-5, check_dtype=False)


def test_frozen_layers_stay_and_others_learn_at_their_rate(
    finished: Finished, make_config: MakeConfig, tmp_path: Path
) -> None:
    init = {
        "model": str(finished.result.model),
        "freeze": ["species", "conv"],
        "reset": ["readout"],
        "lr": {"l*": 0.1, "*": 2.0},
    }
    config = make_config({"init": init, "trainer.max_epochs": 1, "trainer.ema_decay": None})
    console = Console(record=True, width=100, file=io.StringIO())
    weights = load_model(run(config, tmp_path / "run", console).model).state_dict()
    text = console.export_text()
    assert "  weights from it: species, conv, last\n  random weights: readout\n  frozen: species, conv\n" in text
    trained = load_model(finished.result.model).state_dict()
    same = {name.split(".")[1] for name in trained if torch.equal(weights[name], trained[name])}
    assert same == {"species", "conv", "energy"}  # the scale and shift of the same data
    model = config.model.resolve(RESOLVED).build()
    groups = parameter_groups(model, 0.01, lr_factor(config.init))
    assert sorted({group["lr"] for group in groups}) == [0.001, 0.02]


def test_new_heads_and_targets(finished: Finished, make_config: MakeConfig, tmp_path: Path) -> None:
    changes = {
        "init": {"model": str(finished.folder)},
        "model.layers.gap": {"kind": "linear", "of": "act", "irreps_out": "0e"},
        "model.outputs": {"size": {"kind": "sum", "of": "gap"}},
        "task.targets": {"size": {"irreps": "0e", "per": "graph", "key": "energy"}},
        "trainer.max_epochs": 1,
    }
    typed = make_config(changes).typed()
    assert (typed.transfer.new, typed.transfer.dropped) == (("gap",), ())
    run(make_config(changes), tmp_path / "run", Console(quiet=True))


def wrong(make_config: MakeConfig, changes: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        make_config(changes).typed()
    return str(caught.value)


def test_what_does_not_fit_is_said_before_anything_runs(
    finished: Finished, make_config: MakeConfig, tmp_path: Path
) -> None:
    file = finished.result.model
    init = {"init": {"model": str(file)}}
    assert wrong(make_config, {**init, "model.layers.conv.radial_mlp": [16]}) == (
        f"model.layers.conv\n  'conv' differs from {file}: radial_mlp is [8] there, [16] here\n"
        "  set init.reset=[conv] to start it from random weights, or remove model= to use the layers of the file"
    )
    assert wrong(make_config, {**init, "model.layers.species.irreps_out": "4x0e"}).startswith(
        f"model.layers.species\n  'species' differs from {file}: irreps_out is 8x0e there, 4x0e here"
    )
    assert wrong(make_config, {**init, "model.r_max": 5.0}) == (
        f"model.r_max\n  must equal the r_max of {file}, 4; got 5\n"
        "  remove model= to take the layers and r_max from the file"
    )
    assert wrong(make_config, {"init": {"model": str(file), "freeze": ["cnv"]}}) == (
        "init.freeze\n  no layer with weights is named cnv\n  did you mean conv?"
    )
    assert wrong(make_config, {"init": {"model": str(file), "freeze": ["*"]}}) == (
        "init.freeze\n  all layers are frozen: there is nothing to train"
    )
    assert wrong(make_config, {"init": {"model": "none.safetensors"}}) == (
        "init.model\n  none.safetensors: no such file"
    )
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert wrong(make_config, {"init": {"model": str(other)}}) == (
        f"init.model\n  {other}: not a model of e3frame: a safetensors file that e3frame did not write"
    )
    assert wrong(make_config, {"init": {"model": str(file), "reset": ["*"]}}).startswith(
        f"init.model\n  every layer starts from random weights, so that no weights of {file} are used"
    )


def test_the_layers_are_those_of_the_file(finished: Finished, cache: str, tmp_path: Path) -> None:
    """Where nobody chooses a model; with what is said of its keys on top, and contradictions told."""
    given = [f"init.model={finished.folder}", "data=sample", f"data.cache_dir={cache}"]
    run_of = load_run(given).config
    held = load_model(finished.result.model).spec
    assert run_of.model.layers == held.layers
    assert (run_of.model.r_max, run_of.model.species) == (4.0, "auto")
    scale_shift = run_of.model.outputs["energy"].per_species_scale_shift
    assert (scale_shift.scale, scale_shift.shift) == ("auto", "auto")
    assert load_run(given).transfer.new == ()
    assert Composer(given).compose(["seed=3"]).raw["model"] == compose_config(given).raw["model"]
    more = load_run([*given, "model.layers.readout.bias=true", "init.reset=[readout]"])
    assert more.config.model.layers["readout"].bias
    assert more.transfer.new == ("readout",)
    with pytest.raises(SpecError) as caught:
        load_run([*given, "model.r_max=5.0"])
    assert str(caught.value) == (
        "command-line override model.r_max=5.0  model.r_max\n"
        f"  must equal the r_max of {finished.result.model}, 4; got 5\n"
        "  remove model= to take the layers and r_max from the file"
    )
    with pytest.raises(
        SpecError, match=r"'species' differs from .*\n  set init.reset=\[species\] .* or remove model= to use"
    ):
        load_run([*given, "model=nequip"])
    with pytest.raises(SpecError, match=r"init.model=runs/no +init.model\n  runs/no: no such file"):
        load_run(["init.model=runs/no", "data=sample"])


def test_new_species_are_called_new(finished: Finished, make_config: MakeConfig) -> None:
    config = make_config({"init": {"model": str(finished.folder)}})
    transfer = config.typed().transfer
    resolved = config.model.resolve(RESOLVED.model_copy(update={"species": ("H", "N", "O")}))
    assert transfer.species(resolved) == "  new species, with random weights: N\n  species that the data do not have: C"
    assert transfer.species(transfer.spec) == ""
