"""One file holds the model; what is wrong with a file is said in one message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.runs import Finished

import e3frame
from e3frame.data.batch import model_input
from e3frame.data.loader import make_loader
from e3frame.inference.saved import SavedModel, load_model, save_model
from e3frame.network import Model
from e3frame.spec.errors import UserError


@pytest.fixture
def header(finished: Finished) -> dict[str, str]:
    with safe_open(finished.result.model, framework="pt") as opened:
        return dict(opened.metadata())


@pytest.fixture
def batch(finished: Finished) -> dict[str, torch.Tensor]:
    config = finished.config
    splits = config.data.load(config.model.r_max, config.task.labels)
    return model_input(next(iter(make_loader(splits.test, 5))))


def rewritten(finished: Finished, path: Path, header: dict[str, str], **weights: torch.Tensor | None) -> Path:
    """The run's model with another header and some weights replaced, or left out if None."""
    tensors = dict(SavedModel.read(finished.result.model).weights) | weights
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path, header)
    return path


def test_the_header_says_what_the_file_is(finished: Finished, header: dict[str, str]) -> None:
    assert header.keys() == {"e3frame", "format", "dtype", "spec", "task"}
    assert (header["e3frame"], header["dtype"]) == (e3frame.__version__, "float32")
    saved = SavedModel.read(finished.result.model)
    assert saved.task == finished.config.task
    assert saved.spec.model_dump_json() == header["spec"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_bit_for_bit(
    finished: Finished, tmp_path: Path, dtype: torch.dtype, batch: dict[str, torch.Tensor]
) -> None:
    torch.manual_seed(3)
    model = load_model(finished.result.model).to(dtype)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter)
    again = load_model(save_model(model, tmp_path / "m.safetensors"))
    assert again.spec == model.spec
    assert again.dtype == dtype
    with torch.no_grad():
        first, second = model(batch), again(batch)
    assert first.keys() == {"energy", "forces"}
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_equal_models_are_equal_files(finished: Finished, tmp_path: Path) -> None:
    again = save_model(load_model(finished.result.model), tmp_path / "m.safetensors", finished.config.task)
    assert again.read_bytes() == finished.result.model.read_bytes()


def test_a_loaded_model_is_ready_to_predict(finished: Finished) -> None:
    before = torch.get_rng_state()
    model = e3frame.load_model(str(finished.result.model))
    assert isinstance(model, Model)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_another_dtype(finished: Finished, batch: dict[str, torch.Tensor]) -> None:
    single, double = load_model(finished.result.model), load_model(finished.result.model, dtype="float64")
    assert double.dtype == torch.float64
    with torch.no_grad():
        torch.testing.assert_close(single(batch)["forces"], double(batch)["forces"].float(), rtol=1e-4, atol=1e-5)


def test_the_default_dtype_does_not_matter(finished: Finished, batch: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        expected = load_model(finished.result.model)(batch)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            found = load_model(finished.result.model)(batch)
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_no_file(tmp_path: Path, finished: Finished) -> None:
    with pytest.raises(UserError, match=r"nowhere.safetensors: no such file$"):
        load_model(tmp_path / "nowhere.safetensors")
    with pytest.raises(UserError, match=r"mode.safetensors: no such file\n  did you mean .*/model.safetensors\?"):
        load_model(finished.folder / "mode.safetensors")
    with pytest.raises(UserError, match=r"a folder, not a model file\n  did you mean .*/model.safetensors\?"):
        load_model(finished.folder)


def test_not_a_safetensors_file(tmp_path: Path, finished: Finished) -> None:
    path = tmp_path / "model.safetensors"
    for content in (b"", b"not at all a model", finished.result.model.read_bytes()[:-7]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"model.safetensors: not a safetensors file, or a damaged one: "):
            load_model(path)


def test_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"other.safetensors: a safetensors file, but not a model of e3frame$"):
        load_model(path)


def test_a_newer_model(finished: Finished, tmp_path: Path, header: dict[str, str]) -> None:
    path = rewritten(finished, tmp_path / "m.safetensors", header | {"format": "2", "e3frame": "9.0.0"})
    with pytest.raises(UserError) as caught:
        load_model(path)
    assert str(caught.value) == (
        f"{path}: written by e3frame 9.0.0, which is newer than this, {e3frame.__version__}\n"
        "  pip install --upgrade e3frame"
    )


def test_a_spec_that_is_not_valid(finished: Finished, tmp_path: Path, header: dict[str, str]) -> None:
    spec = json.loads(header["spec"])
    spec["layers"]["readout"]["kind"] = "liner"
    path = rewritten(finished, tmp_path / "m.safetensors", header | {"spec": json.dumps(spec)})
    with pytest.raises(UserError) as caught:
        load_model(path)
    assert str(caught.value) == (
        f"{path}: its spec is not valid here: layers.readout.kind\n  no layer is called liner\n  did you mean linear?"
    )


def test_weights_that_do_not_fit(finished: Finished, tmp_path: Path, header: dict[str, str]) -> None:
    weights = SavedModel.read(finished.result.model).weights
    name = next(key for key in weights if key.startswith("layers.readout."))
    shape = tuple(weights[name].shape)
    path = tmp_path / "m.safetensors"
    cases = {
        f"no {name}": {name: None},
        "odd is not a part of it": {"odd": torch.zeros(1)},
        f"{name} is (1, 2, 3), the spec needs {shape}": {name: torch.zeros(1, 2, 3)},
    }
    for problem, changes in cases.items():
        with pytest.raises(UserError) as caught:
            load_model(rewritten(finished, path, header, **changes))
        assert str(caught.value) == f"{path}: the weights do not fit the spec: {problem}"


def test_a_file_does_not_decide_what_is_imported(
    finished: Finished, tmp_path: Path, header: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "somebodys_layers.py").write_text("loaded = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = json.loads(header["spec"]) | {"plugins": ["somebodys_layers"]}
    path = rewritten(finished, tmp_path / "m.safetensors", header | {"spec": json.dumps(spec)})
    with pytest.raises(UserError) as caught:
        load_model(path)
    assert str(caught.value) == (
        f"{path}: its layers need the plugin somebodys_layers, which is not installed as one\n"
        "  if you trust it: plugins=somebodys_layers on the command line, plugins=['somebodys_layers'] in Python"
    )
    assert load_model(path, plugins=["somebodys_layers"]).spec.plugins == ("somebodys_layers",)
