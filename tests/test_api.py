"""The Python API: the forms in which a model or a run is given, and mistakes as messages."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.runs import _same_global_state, without_figures  # noqa: F401

import e3frame
from e3frame import UserError
from e3frame.compose import config_folder, load_run
from e3frame.spec.statistics import Statistics

PRESET = config_folder() / "model" / "nequip_small.yaml"
TEXT = """
r_max: 4.0
layers:
  species: {kind: species_embedding, irreps_out: 4x0e}
  edge_sh: {kind: spherical_harmonics, irreps_out: 0e}
  radial: {kind: radial_basis, num_basis: 4}
  conv: {kind: convolution, irreps_out: 4x0e, radial_mlp: [4]}
  readout: {kind: linear, irreps_out: 0e}
outputs: {energy: {kind: sum, of: readout, per_species_scale_shift: auto}}
"""
MAPPING: dict[str, Any] = yaml.safe_load(TEXT)


@pytest.mark.parametrize("what", ["nequip_small", str(PRESET), PRESET, PRESET.read_text(encoding="utf-8")])
def test_a_model_in_every_form(what: str | Path) -> None:
    found = e3frame.check(what)
    assert found.run is None
    assert found.model.spec == e3frame.check("nequip_small").model.spec
    assert {name: str(output.field) for name, output in found.model.outputs.items()} == {
        "energy": "1x0e per graph",
        "forces": "1x1o per node",
    }


@pytest.mark.parametrize("what", ["nequip_small", PRESET, TEXT, MAPPING, None, ["model=nequip_small"]])
def test_a_key_of_the_run_makes_it_a_run(what: Any) -> None:
    before = copy.deepcopy(what)
    found = e3frame.check(what, **{"data": ["a.xyz", "b.xyz"], "r_max": 3.5, "trainer.max_epochs": 7})
    assert found.run is not None
    assert found.run.config.data.path == ("a.xyz", "b.xyz")
    assert found.run.config.trainer.max_epochs == 7
    assert found.model.spec.r_max == found.run.config.model.r_max == 3.5
    assert set(found.model.outputs) == {"energy", "forces"}
    assert what == before


def test_the_same_run_as_on_the_command_line() -> None:
    words = ["model=nequip_small", "data=sample", "trainer.max_epochs=7", "model.irreps.hidden=gate(4x0e+2x1o)"]
    keys = {"data": "sample", "trainer.max_epochs": 7, "irreps.hidden": "gate(4x0e+2x1o)"}
    expected = load_run(words).config
    for found in (e3frame.check(words), e3frame.check("nequip_small", **keys)):
        assert found.run is not None
        assert found.run.config == expected


def test_the_table() -> None:
    table = repr(e3frame.check(TEXT, species=["H", "O"]))
    assert table.splitlines()[0] == "r_max 4 Å, species given: H O"
    assert re.search(r"^conv +convolution +node +4x0e +4 +96$", table, re.MULTILINE)
    unread = repr(e3frame.check({**MAPPING, "outputs": {"energy": {"kind": "sum", "of": "conv"}}}))
    assert "warning: layers.readout\n  nothing reads 'readout'\n" in unread


MISTAKES: list[tuple[Any, dict[str, Any], str]] = [
    ("nequipp", {}, "no model is called nequipp\n  did you mean nequip?"),
    ("nequip", {"r_maxx": 3}, "override r_maxx=3  r_maxx\n  unknown key\n  did you mean r_max?"),
    ("nequip", {"trainer.max_epoch": 5}, "override trainer.max_epoch=5  trainer.max_epoch\n  unknown key\n"),
    ("nequip", {"data": "smaple"}, "override data=smaple  data\n  "),
    (["trainer.max_epochs=x"], {}, "override trainer.max_epochs=x  trainer.max_epochs\n  "),
    (TEXT.replace("convolution", "convolve"), {}, "YAML text:7:16  layers.conv.kind\n  "),
    (TEXT.replace("convolution", "convolve"), {"data": "sample"}, "YAML text:7:16  model.layers.conv.kind\n  "),
    (
        TEXT,
        {"layers.conv.irreps_out": "8x3e"},
        'override layers.conv.irreps_out="8x3e"  layers.conv.irreps_out\n  8x3e',
    ),
    ({**MAPPING, "layers": {}}, {}, "layers\n  "),
    ("[1, 2]\n", {}, "YAML text\n  a mapping is required at the top level"),
    ("no/such.yaml", {}, "no/such.yaml\n  No such file or directory"),
    ("no/such/run", {}, "no/such/run\n  "),
]


@pytest.mark.parametrize(("what", "keys", "message"), MISTAKES)
def test_mistakes_say_where(what: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        e3frame.check(what, **keys)
    assert str(caught.value).startswith(message)


def test_what_is_no_config() -> None:
    with pytest.raises(TypeError, match="a mapping or a list of overrides is required, got 3"):
        e3frame.check(3)  # type: ignore[arg-type]


def test_build() -> None:
    torch.manual_seed(0)
    model = e3frame.build("nequip", species=["H", "C", "O"], **{"irreps.hidden": "8x0e + 8x1o"})
    assert isinstance(model, torch.nn.Module)
    assert model.spec.species == ("H", "C", "O")
    assert sum(p.numel() for p in model.parameters()) == e3frame.check(model.spec.model_dump()).model.num_parameters
    assert e3frame.build(TEXT, data="sample").spec.species == ("H", "C", "N", "O")
    given = Statistics(species=("H",), energy_shift={"H": -13.6}, energy_scale=2.0, avg_num_neighbors=9.0)
    assert e3frame.build(TEXT, statistics=given).spec.layers["conv"].avg_num_neighbors == 9.0  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"^species\n  the model says auto.*\n  give species=\["):
        e3frame.build("nequip")


def test_train_and_load(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_figures: None,  # noqa: F811
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"data.molecules": ["ethanol"], "data.num_train": 8, "data.cache_dir": "cache", "trainer.num_threads": 1}
    result = e3frame.train(TEXT, data="sample", task="energy", name="api", **{**small, "trainer.max_epochs": 1})
    assert result.folder.parent == Path("runs/api")
    assert e3frame.load_model(result.model).spec == e3frame.load_model("runs/api").spec
    assert e3frame.check("runs/api").run is not None
    again = e3frame.train(result.folder, **{"trainer.max_epochs": 2})
    assert (again.folder, again.epochs) == (result.folder, 2)
    with pytest.raises(UserError, match=": this run is already finished"):
        e3frame.train(result.folder)
    chosen = e3frame.train(
        e3frame.load_model(result.model).spec.model_dump(),
        data="sample",
        task="energy",
        folder="here",
        **small,
        **{"trainer.max_epochs": 1},
    )
    assert chosen.model == Path("here/model.safetensors")
    with pytest.raises(UserError, match=r"^ckpt=last: runs/none has no run"):
        e3frame.train(TEXT, data="sample", task="energy", ckpt="last", name="none")


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, e3frame; seen = {'pydantic', 'torch', 'hydra'} & set(sys.modules); assert not seen, seen\n"
    code += "assert {'build', 'check', 'load_model', 'train'} <= set(dir(e3frame))\n"
    code += "e3frame.check('nequip', data='sample'); assert 'torch' not in sys.modules\n"
    code += "import e3frame.training.fit; assert callable(e3frame.train)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'e3frame' has no attribute 'evaluat'"):
        e3frame.evaluat  # noqa: B018
