"""What the README says is so."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from e3frame.cli import VERBS, main
from e3frame.compose import config_folder, load_run, read_yaml
from e3frame.config.run import RunConfig
from e3frame.config.targets import TaskSpec
from e3frame.data.sources.base import DataSpec
from e3frame.data.sources.md17 import Md17Spec
from e3frame.model import ModelSpec
from e3frame.spec.errors import UserError
from e3frame.spec.validate import SpecErrors, validate

ROOT = config_folder().parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[1]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("configs/model/mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(MODEL, encoding="utf-8")
    return path


def test_the_first_model_has_ten_lines_and_is_right(file: Path) -> None:
    assert len(MODEL.splitlines()) == 10
    typed = read_yaml(file).parse(ModelSpec, ModelSpec.typed).typed()
    assert {name: str(output.field) for name, output in typed.outputs.items()} == {
        "energy": "1x0e per graph",
        "forces": "1x1o per node",
    }
    assert not typed.warnings


@pytest.mark.parametrize(
    ("old", "new"), [("gate(16x0e + 16x1o + 8x2e)", "8x3e"), ("16x1o", "16x1")], ids=["reach", "syntax"]
)
def test_the_errors_are_what_it_says(file: Path, old: str, new: str) -> None:
    file.write_text(MODEL.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_yaml(file).parse(ModelSpec, ModelSpec.typed)
    assert f"```\n{caught.value}\n```" in TEXT


def test_the_levels_of_md17() -> None:
    """Both texts name each level but the default, and the config its molecules."""
    text = (ROOT / "configs" / "data" / "md17.yaml").read_text(encoding="utf-8")
    (said,) = re.findall(r"level: dft # .*; ccsd for (.*); fhi_aims for (.*)", text)
    for level, molecules in zip(("ccsd", "fhi_aims"), said, strict=True):
        assert re.search(rf"`(data\.level=)?{level}`", TEXT)
        with pytest.raises(SpecErrors) as caught:
            validate(Md17Spec, {"molecule": "uracil", "level": level})
        hint = str(caught.value.errors[0]).partition("there are of ")[2]
        assert sorted(hint.split(", ")) == molecules.split(", ")


def test_every_result_says_how_it_is_run() -> None:
    table = TEXT.split("| what | run with | energy, meV per molecule")[1].split("\n\n")[0]
    rows = [row.split("|")[1:-1] for row in table.splitlines()[2:]]
    assert len(rows) >= 4
    assert all("`" in row[1] for row in rows)


def test_the_table_of_data_keys() -> None:
    keys = set(re.findall(r"(data\.[a-z_.]+)=", TEXT))
    assert len(keys) >= 8
    known = {name for member in DataSpec.members.values() for name in member.model_fields}
    assert {key.split(".")[1] for key in keys} <= known
    assert {"model", "data", "task", "name"} <= set(RunConfig.model_fields)
    load_run(["data=xyz", "data.path=[a.xyz,b.extxyz]", "data.split.val=50", "data.split.train=950"])
    load_run(["data=xyz", "data.path=a.xyz", "data.units.energy=Hartree", "data.units.length=bohr"])


def test_the_targets_it_shows() -> None:
    raw = next(block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if block.startswith("targets:"))
    task = validate(TaskSpec, yaml.safe_load(raw))
    assert task.targets["forces"].last_weight == 10
    assert {name: str(target.type.irreps) for name, target in task.targets.items()} == {
        "energy": "1x0e",
        "forces": "1x1o",
        "stress": "1x0e+1x2e",
        "dipole": "1x1o",
        "polarizability": "1x0e+1x2e",
        "shielding": "1x0e+1x1e+1x2e",
        "charges": "1x0e",
    }


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)|<img[^>]* src=\"([^\"]+)\"", TEXT)
    files = [link for pair in links for link in pair if link]
    assert len(files) >= 4
    assert not [link for link in files if not link.startswith("http") and not (ROOT / link).exists()]


def test_the_python_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 2
    for module, names in re.findall(r"^from (\S+) import (.+)$", "\n".join(blocks), re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(import_module(module), name) or import_module(f"{module}.{name}")
    exec(next(block for block in blocks if "FullyConnected" in block), {})


def test_the_verbs_exist(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"e3frame ([a-z]+)(?= |`)", TEXT)) - {"import"}
    assert named <= set(VERBS)
    assert main(["layers", "convolution"]) == 0
