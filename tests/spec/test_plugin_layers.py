"""Layers of one's own: listed, and counted from their modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from e3frame.cli import main
from e3frame.model import ModelSpec
from e3frame.spec.layer import LayerSpec
from e3frame.spec.validate import validate

PLUGIN = """
from typing import ClassVar, Literal
from e3frame.spec.layer import LayerSpec, Signature, TensorType

class Own(LayerSpec):
    \"\"\"Scales with a number for each species, and a bias.\"\"\"
    kind: Literal["own_scale"] = "own_scale"
    example: ClassVar[str] = "{kind: own_scale}"
    def infer(self, scope):
        x = scope.read(None, "node", "of")
        return Signature((x.key,), TensorType(x.irreps, "node"))
    def build(self, scope):
        import torch
        return torch.nn.Linear(4, len(scope.species))
"""


def test_own_layers_are_listed_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_layers_of_test.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert main(["layers", "plugins=own_layers_of_test"]) == 0
        assert "own_scale" in capsys.readouterr().out
        assert main(["layers", "own_scale", "plugins=[own_layers_of_test]"]) == 0
        assert "Scales with a number for each species" in capsys.readouterr().out
        layers = {"species": {"kind": "species_embedding", "irreps_out": "4x0e"}, "own": {"kind": "own_scale"}}
        raw = {"r_max": 3.0, "layers": layers, "outputs": {"total": {"kind": "sum", "of": "own"}}}
        typed = validate(ModelSpec, raw).typed(num_species=2)
        assert [step.num_parameters for step in typed.steps if step.binding.name == "own"] == [4 * 2 + 2]
        assert typed.num_parameters == 2 * 4 + 4 * 2 + 2
    finally:
        LayerSpec.members.pop("own_scale", None)
        sys.modules.pop("own_layers_of_test", None)
