"""The JSON Schema agrees with the parser."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from e3frame.cli import main
from e3frame.compose import config_folder
from e3frame.spec.layer import LayerSpec


@pytest.fixture
def validator(capsys: pytest.CaptureFixture[str]) -> jsonschema.Draft202012Validator:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_presets_are_valid(validator: jsonschema.Draft202012Validator) -> None:
    files = sorted((config_folder() / "model").glob("*.yaml"))
    assert len(files) >= 3
    for file in files:
        assert list(validator.iter_errors(yaml.safe_load(file.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("kind", sorted(LayerSpec.members))
def test_every_example_is_valid(validator: jsonschema.Draft202012Validator, kind: str) -> None:
    layer = yaml.safe_load(LayerSpec.members[kind].example)
    model = {"r_max": 5.0, "layers": {"it": layer}, "outputs": {"out": {"kind": "sum"}}}
    assert list(validator.iter_errors(model)) == []
    model["layers"]["it"] = {**layer, "no_such_key": 1}
    assert list(validator.iter_errors(model)) != []


def test_keys_are_documented(validator: jsonschema.Draft202012Validator) -> None:
    keys = validator.schema["$defs"]["Convolution"]["properties"]
    assert keys["radial_mlp"]["description"] == "Widths of the hidden layers of the radial network."
