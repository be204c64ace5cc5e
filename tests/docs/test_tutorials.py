"""The tutorials run: their code cells, one after another, in an empty folder."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot as plt

from e3frame.compose import config_folder
from e3frame.spec.layer import LayerSpec

TUTORIALS = sorted((config_folder().parent / ".github" / "docs" / "tutorials").glob("*.md"))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder to work in; kinds, modules and random numbers of the tutorial are gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("E3FRAME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plt, "show", lambda: None)
    kinds, modules = set(LayerSpec.members), set(sys.modules)
    with torch.random.fork_rng():
        yield
    for kind in set(LayerSpec.members) - kinds:
        module = LayerSpec.members.pop(kind).__module__
        if module not in modules:
            del sys.modules[module]
    plt.close("all")


def test_there_are_tutorials() -> None:
    assert len(TUTORIALS) == 5


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_its_cells_run(tutorial: Path, empty: None, capsys: pytest.CaptureFixture[str]) -> None:
    """What they show is a picture, or a text for people."""
    cells = re.findall(r"```\{code-cell\} python\n(.*?)```", tutorial.read_text(encoding="utf-8"), re.DOTALL)
    assert len(cells) >= 5
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        *body, last = ast.parse(cell).body
        name = f"{tutorial.stem}, cell {number}"
        exec(compile(ast.Module(body, []), name, "exec"), names)
        if isinstance(last, ast.Expr) and not cell.rstrip().endswith(";"):
            shown = eval(compile(ast.Expression(last.value), name, "eval"), names)
            assert hasattr(shown, "_repr_png_") or " at 0x" not in repr(shown)
        else:
            exec(compile(ast.Module([last], []), name, "exec"), names)
    assert " at 0x" not in capsys.readouterr().out
