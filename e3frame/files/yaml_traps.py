"""Scalars that YAML 1.1 reads as something else than what was probably meant."""

from __future__ import annotations

import re

import yaml

_OCTAL = re.compile(r"[-+]?0[0-7_]*[0-9_]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_TAG = "tag:yaml.org,2002:"


def misread(node: yaml.Node, is_key: bool = False) -> str | None:
    """How YAML reads a plain scalar whose reader and writer will not agree, or None.

    ``010`` is the number 8, and ``1:30`` the number 90. ``No`` is false: a fair way to write a switch, but not a key,
    such as that of nobelium.
    """
    if not isinstance(node, yaml.ScalarNode) or node.style:
        return None
    text = node.value
    if node.tag in (f"{_TAG}int", f"{_TAG}float"):
        if _BASE_60.fullmatch(text):
            return f"the number {_sexagesimal(text):g}"
        if node.tag == f"{_TAG}int" and _OCTAL.fullmatch(text):
            return f"the number {int(text.replace('_', ''), 8)}"
    return word_for(text) if is_key else None


def word_for(text: str) -> str | None:
    """``true`` or ``false`` for the other words that YAML 1.1 reads so: yes, no, on, off."""
    return _WORDS.get(text.lower())


def _sexagesimal(text: str) -> float:
    sign = -1 if text[0] == "-" else 1
    value = 0.0
    for part in text.lstrip("+-").replace("_", "").split(":"):
        value = 60 * value + float(part)
    return sign * value
