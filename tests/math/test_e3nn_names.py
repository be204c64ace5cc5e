"""Every public name of e3nn is there with its signature, or the table says why not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare_e3nn.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_e3nn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
    return module


def test_every_name_is_there(script: ModuleType):
    rows = script.compare()
    assert {row.name.rpartition(".")[0] for row in rows} == set(script.MODULES)
    assert len(rows) == 98
    assert not [(row.name, row.notes) for row in rows if row.status == "gap"]
    assert "`math.bessel` | same" in script.render(rows)


def test_every_explanation_is_needed(script: ModuleType):
    notes = {row.name: " ".join(row.notes) for row in script.compare()}
    for name, members in script.INTERNALS.items():
        assert all(f"no `{member}`:" in notes[name] for member in members)


def test_what_counts_as_the_same(script: ModuleType):
    def theirs(a, b=None, *, c=1): ...

    def statuses(ours) -> set[str]:
        return {status for status, _ in script._compare_signatures(theirs, ours)}

    def more(a, b=None, extra=0, *, c=1): ...

    def any_keyword(a, b=None, **options): ...

    def renamed(a, d=None, *, c=1): ...

    def other_default(a, b=None, *, c=2): ...

    def required(a, b=None, *, c=1, d): ...

    def without(a, b=None): ...

    assert statuses(theirs) == statuses(any_keyword) == set()
    assert statuses(more) == {"same, and more"}
    for ours in (renamed, other_default, required, without):
        assert "gap" in statuses(ours)
