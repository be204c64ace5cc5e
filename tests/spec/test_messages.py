"""Every mistake in a config gets its one message, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from e3frame.compose import read_yaml
from e3frame.model import ModelSpec
from e3frame.spec.errors import UserError

TABLE = yaml.safe_load(Path(__file__).with_name("wrong_models.yaml").read_text(encoding="utf-8"))


def check(text: str) -> None:
    Path("model.yaml").write_text(text, encoding="utf-8")
    read_yaml("model.yaml").parse(ModelSpec, ModelSpec.typed)


def test_the_base_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(TABLE["base"])


def test_the_table_is_large() -> None:
    assert len(TABLE["cases"]) >= 80
    assert len({case["name"] for case in TABLE["cases"]}) == len(TABLE["cases"])


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["name"])
def test_wrong_model(case: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert TABLE["base"].count(case["old"]) >= 1
    with pytest.raises(UserError) as caught:
        check(TABLE["base"].replace(case["old"], case["new"], 1))
    assert str(caught.value) == case["message"].rstrip("\n")


def test_what_is_wrong_comes_before_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        check("r_max: 5.0\nlayers: []\n")
    assert str(caught.value) == "model.yaml:2:9  layers\n  a mapping is required, got []"
    with pytest.raises(UserError) as caught:
        check("layers: {x: {kind: species_embedding, irreps_out: 4x0e}}\n")
    assert str(caught.value) == "model.yaml:1:1  r_max\n  this key is required: Cutoff radius of the graph in Å."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "model.yaml\n  a mapping is required at the top level; the file is empty"),
        (b"# nothing\n", "model.yaml\n  a mapping is required at the top level; the file is empty"),
        (b"- r_max\n", "model.yaml\n  a mapping is required at the top level"),
        (
            b"layers: {}\nr_max: 4 # \xc5\n",
            "model.yaml:2:12\n  the file is not UTF-8: byte 0xc5\n  save the file as UTF-8",
        ),
        (b"r_max: 4\nr_max: 5\n", "model.yaml:2:1\n  this is not YAML: the key r_max is repeated"),
    ],
    ids=["empty", "comment", "list", "latin-1", "duplicate key"],
)
def test_wrong_files(content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.yaml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_yaml("model.yaml")
    assert str(caught.value) == message
