"""One file holds the model; what is wrong with a file is said in one message."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.runs import Finished

import e3frame
from e3frame.config.model_paths import model_path
from e3frame.data.pipeline.graphs import model_input
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.module import make_loader
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
    splits = load(config.data, config.model.r_max, config.task.labels)
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


def message(path: Path, **arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_model(path, **arguments)
    return str(caught.value)


def test_no_file(tmp_path: Path, finished: Finished) -> None:
    nowhere = tmp_path / "nowhere.safetensors"
    assert message(nowhere) == f"{nowhere}\n  no such file"
    typo, model = finished.folder / "mode.safetensors", finished.result.model
    assert message(typo) == f"{typo}\n  no such file\n  did you mean {model}?"
    assert message(tmp_path) == f"{tmp_path}\n  this folder contains no run"
    assert message(Path("a\0b")) == "a\\x00b\n  not a valid file name"
    (tmp_path / "link").symlink_to("gone")
    assert message(tmp_path / "link") == f"{tmp_path / 'link'}\n  a broken link: gone does not exist"
    for path in ("", 3, b"model.safetensors"):
        assert message(path).endswith("\n  the name of a file or folder is required")
    assert message(Path("n" * 300)).endswith("\n  cannot be read: File name too long")


def test_a_run_is_named_by_its_folder_or_its_name(finished: Finished, tmp_path: Path) -> None:
    """The newest run of a name, by the date in its name; a model is never taken silently from an older one."""
    content = finished.result.model.read_bytes()
    name = tmp_path / "runs" / "water"
    runs = [name / date for date in ("2026-01-02_03-04-05", "2025-12-31_23-59-59")]
    for folder in runs:
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("seed: 0\n")
        (folder / "model.safetensors").write_bytes(content)
    assert model_path(runs[1]) == runs[1] / "model.safetensors"
    assert model_path(name) == runs[0] / "model.safetensors"
    assert SavedModel.read(name).path == runs[0] / "model.safetensors"
    (runs[0] / "model.safetensors").unlink()
    assert message(name) == (
        f"{runs[0]}\n  the newest run, has no model.safetensors yet\n"
        f"  an earlier run has one: {runs[1] / 'model.safetensors'}"
    )
    assert message(runs[0]) == f"{runs[0]}\n  has no model.safetensors yet\n  it is written when the training ends"
    assert message(tmp_path / "runs") == f"{tmp_path / 'runs'}\n  this folder contains no run\n  runs there: {name}"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    fifo, plug = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(plug))
        for path, kind in ((fifo, "a named pipe"), (plug, "a socket"), (Path("/dev/zero"), "a device")):
            assert message(path) == f"{path}\n  not a model of e3frame: it is {kind}, not a file"


def test_not_a_safetensors_file(tmp_path: Path, finished: Finished) -> None:
    path, whole = tmp_path / "model.safetensors", finished.result.model.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    beginning = "not a safetensors file, or truncated"
    cases = {
        b"": beginning,
        b"not at all a model": beginning,
        pickle.dumps({"state_dict": 1}) * 9: beginning,
        whole[: size // 2]: beginning,
        b"\xff" * 8 + whole[8:]: beginning,
        b"\x08" + bytes(7) + b"[[[[]]]]": "its header is not a mapping",
        b"\x08" + bytes(7) + b'{"a":1,}': "its header is not JSON: ",
        b"\x14" + bytes(7) + b'{"a":null,"a":null} ': "its header is not JSON: a key is listed twice",
        b"\0\0\x03" + bytes(5) + b"[" * 196608: "its header is nested too deeply",
        whole[:-7]: "its header describes ",
        whole + b"more": "its header describes ",
    }
    for content, problem in cases.items():
        path.write_bytes(content)
        assert message(path).startswith(f"{path}\n  not a model of e3frame: {problem}"), problem
    with path.open("wb") as file:  # a header of a terabyte in a file that has it, at least in name
        file.write((1 << 40).to_bytes(8, "little"))
        file.truncate((1 << 40) + 8)
    assert "its header has 1,099,511,627,776 bytes; at most 8,388,608 are allowed" in message(path)


def test_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    assert message(path) == f"{path}\n  not a model of e3frame: a safetensors file that e3frame did not write"


def test_a_newer_model(finished: Finished, tmp_path: Path, header: dict[str, str]) -> None:
    path = rewritten(finished, tmp_path / "m.safetensors", header | {"format": "2", "e3frame": "9.0.0"})
    assert message(path) == (
        f"{path}\n  written by e3frame 9.0.0, which is newer than the installed {e3frame.__version__}\n"
        "  pip install --upgrade e3frame"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": "one"}, "its format is not a number: one"),
        ({"format": "-1"}, "its format is not a number: -1"),
        ({"format": "0"}, "its format 0 does not exist"),
        ({"dtype": "load"}, "its dtype must be one of float32, float64, bfloat16, float16; got load"),
        ({"dtype": "int64"}, "its dtype must be one of float32, float64, bfloat16, float16; got int64"),
        ({"spec": "[]"}, "its spec is not a mapping"),
        ({"spec": "{"}, "its spec is not JSON: "),
        ({"spec": '{"r_max": NaN}'}, "its spec is not JSON: NaN is not a number"),
        ({"spec": '{"\\ud800": 1}'}, "its spec is not JSON: 'utf-8' codec can't encode character"),
        ({"spec": "[" * 100_000}, "its spec is nested too deeply"),
        ({"task": "7"}, "its task is not a mapping"),
        ({"task": '{"targets": {}}'}, "task.targets: at least 1 must be given, got 0"),
        ({"format": None}, "its header lacks the text 'format'"),
        ({"dtype": "\x1b[31m"}, "its dtype must be one of float32, float64, bfloat16, float16; got \\x1b[31m"),
    ],
)
def test_every_text_of_the_header_is_checked(
    finished: Finished, tmp_path: Path, header: dict[str, str], changes: dict[str, str | None], problem: str
) -> None:
    texts = {key: text for key, text in (header | changes).items() if text is not None}
    path = rewritten(finished, tmp_path / "m.safetensors", texts)
    assert message(path).startswith(f"{path}\n  not a model of e3frame: {problem}")


def test_every_value_of_the_spec_is_checked(finished: Finished, tmp_path: Path, header: dict[str, str]) -> None:
    """As ``e3frame check`` does, and against the weights that are there, before anything is built."""
    cases: dict[str, Callable[[dict[str, Any]], Any]] = {
        "spec.layers.readout.kind: no layer is named liner": lambda s: s["layers"]["readout"].update(kind="liner"),
        "spec.r_max: must be > 0, got -1": lambda s: s.update(r_max=-1),
        "spec.species is 'auto', but a trained model needs a value": lambda s: s.update(species="auto"),
        "spec.layers.conv.avg_num_neighbors is 'auto', but a trained model needs a value": lambda s: s["layers"][
            "conv"
        ].update(avg_num_neighbors="auto"),
        "spec.outputs.energy.per_species_scale_shift.scale is 'auto', but a trained model needs a value": (
            lambda s: s["outputs"]["energy"]["per_species_scale_shift"].update(scale="auto")
        ),
        "spec.outputs.forces.of: no field is named 'enrgy'": lambda s: s["outputs"]["forces"].update(of="enrgy"),
        "spec.plugins must be a list of names, got 7": lambda s: s.update(plugins=7),
        "spec.plugins must be a list of names, got os": lambda s: s.update(plugins="os"),
        "task.targets.forces: the model has no output 'forces'": lambda s: s["outputs"].pop("forces"),
        "its spec needs ": lambda s: s["layers"]["species"].update(irreps_out="1000x0e"),
        "its weights do not fit its spec: ": lambda s: s["layers"]["radial"].update(num_basis=5),
    }
    for problem, change in cases.items():
        spec = json.loads(header["spec"])
        change(spec)
        path = rewritten(finished, tmp_path / "m.safetensors", header | {"spec": json.dumps(spec)})
        assert message(path).startswith(f"{path}\n  not a model of e3frame: {problem}"), problem


def test_weights_that_do_not_fit(finished: Finished, tmp_path: Path, header: dict[str, str]) -> None:
    weights = SavedModel.read(finished.result.model).weights
    name = next(key for key in weights if key.startswith("layers.readout."))
    shape, path = tuple(weights[name].shape), tmp_path / "m.safetensors"
    cases = {
        f"no {name}": {name: None, "layers.more": torch.zeros(99)},
        "the model has no weight odd": {"odd": torch.zeros(1)},
        f"{name} is F32 (1, 2, 30), but the spec needs F32 {shape}": {name: torch.zeros(1, 2, 30)},
        f"{name} is F64 {shape}, but the spec needs F32 {shape}": {name: weights[name].double()},
    }
    for problem, changes in cases.items():
        found = message(rewritten(finished, path, header, **changes))
        assert found.startswith(f"{path}\n  not a model of e3frame: its weights do not fit its spec: {problem}")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32"},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
        {"dtype": "F4096", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [1e308, 0]},
        [],
        None,
    ],
)
def test_what_the_header_says_of_a_tensor(entry: Any, finished: Finished, tmp_path: Path) -> None:
    content = finished.result.model.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    path, held = tmp_path / "m.safetensors", json.loads(content[8:end])
    text = json.dumps(held | {next(name for name in held if name != "__metadata__"): entry}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    assert message(path).startswith(f"{path}\n  not a model of e3frame: its header does not describe the tensor ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_said_aloud(
    value: float, finished: Finished, tmp_path: Path, header: dict[str, str]
) -> None:
    weights = SavedModel.read(finished.result.model).weights
    name = next(key for key in weights if key.startswith("layers.readout."))
    weights[name].view(-1)[:2] = value
    path = rewritten(finished, tmp_path / "m.safetensors", header, **{name: weights[name]})
    assert message(path) == (
        f"{path}\n  2 of the {weights[name].numel()} numbers in {name} are not finite\n"
        "  its training failed, or the file was changed: use the model of another run"
    )


@pytest.mark.parametrize(
    ("dtype", "hint"),
    [
        ("fp64", "did you mean float64?"),
        ("double", "did you mean float64?"),
        ("flaot64", "did you mean float64?"),
        (np.float64, "did you mean float64?"),
        ("bf16", "did you mean bfloat16?"),
        ("load", None),
        (torch.int64, None),
        (torch.complex64, None),
        (7, None),
    ],
)
def test_there_is_no_such_dtype(dtype: Any, hint: str | None, finished: Finished) -> None:
    lines = message(finished.result.model, dtype=dtype).splitlines()
    assert lines[0].startswith("dtype=")
    assert lines[0].endswith(": no such floating-point type")
    if hint is not None:
        assert lines[1].strip() == hint
    assert lines[-1] == "  known: float32, float64, bfloat16, float16"


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        ("gpu", "no such device"),
        ("cpu:0:0", "no such device"),
        ("cuda:99", "this machine has none"),
        ("meta", "this machine has none"),
        ("xla", "this machine has none"),
        (None, "no such device"),
    ],
)
def test_there_is_no_such_device(device: Any, problem: str, finished: Finished) -> None:
    found = message(finished.result.model, device=device)
    assert found.startswith(f"device={device}: {problem}")
    assert "cpu" in found.splitlines()[-1]


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
        f"{path}\n  its layers need the plugin somebodys_layers, which is not installed: no entry point of "
        "e3frame.plugins has this name\n"
        "  if you trust it: plugins=somebodys_layers on the command line, plugins=['somebodys_layers'] in Python"
    )
    assert load_model(path, plugins=["somebodys_layers"]).spec.plugins == ("somebodys_layers",)
