"""Each option is described in one place, its docstring; what else describes it derives from that."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from e3frame.cli import VERBS
from e3frame.cli.arguments import Parser
from e3frame.compose import config_folder
from e3frame.spec.docs import key_docs, summary

ROOT = config_folder().parent


def test_comments_of_configs_are_the_docstrings_of_their_keys() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "annotate_configs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\npython scripts/annotate_configs.py updates them"


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_of_a_verb_has_its_line_of_help(verb: str) -> None:
    declared: Parser = import_module(f"e3frame.cli.{verb}").parser()
    actions = [a for parser in (declared, *declared.subcommands().values()) for a in parser._actions]
    assert not [action.dest for action in actions if not action.help and action.dest != "what"]
    assert f"usage: e3frame {verb}" in declared.format_help()
    if declared.spec is not None:
        assert key_docs(declared.spec).keys() == declared.spec.model_fields.keys()


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("Numbers such as 0.5 Å.\nMore.", "Numbers such as 0.5 Å."),
        ("As in ``a.yaml``. b: two.", "As in a.yaml."),
        ("By Reddi et al. 2018. More.", "By Reddi et al. 2018."),
        ("a, b, ... or c. More.", "a, b, ... or c."),
        ("no full stop", "no full stop"),
    ],
)
def test_summaries(text: str, first: str) -> None:
    assert summary(text) == first
