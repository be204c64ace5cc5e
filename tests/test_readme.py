"""What the README says is so."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from e3frame.cli import VERBS, main
from e3frame.compose import config_folder, read_yaml
from e3frame.model import ModelSpec
from e3frame.spec.errors import UserError

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


def test_it_fits_on_two_screens() -> None:
    assert len(TEXT.splitlines()) <= 110


def test_the_python_api_it_shows(file: Path) -> None:
    block = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "e3frame.check" in block)
    lines = [line for line in block.splitlines() if line and "train" not in line and "load" not in line]
    assert len(lines) == 3
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert names["model"].spec.r_max == 4.0  # type: ignore[attr-defined]
    run = re.search(r"e3frame\.train\((.*)\)  ", block)
    assert run is not None
    assert eval(f"e3frame.check({run[1]})", names).run.config.trainer.max_epochs == 5
