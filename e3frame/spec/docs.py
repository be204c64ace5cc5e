"""The documentation of a spec's keys: the docstring below each attribute, read from the source when it is asked for."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from itertools import pairwise
from textwrap import dedent

from pydantic import BaseModel

_SENTENCE = re.compile(r".*?(?<! al)(?<!\.\.)\.(?= |$)|.*")
"""Up to the first full stop, unless that ends ``et al.`` or an ellipsis."""


@cache
def key_docs(cls: type[BaseModel]) -> dict[str, str]:
    """What each key means, those of base classes included; keys without a docstring are left out."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, BaseModel) and base.__module__.partition(".")[0] != "pydantic":
            docs |= _own_docs(base)
    return {name: docs[name] for name in cls.model_fields if name in docs}


def summaries(cls: type[BaseModel]) -> dict[str, str]:
    """The first sentence about each key, as plain text on one line."""
    return {name: summary(text) for name, text in key_docs(cls).items()}


def summary(text: str) -> str:
    """The first sentence of a docstring, as plain text on one line.

    >>> summary("Frames per step, or ``{atoms: 500}``. Every frame\\ncomes once.")
    'Frames per step, or {atoms: 500}.'
    """
    plain = " ".join(text.replace("``", "").split())
    return _SENTENCE.match(plain)[0]  # type: ignore[index]  # the pattern matches any text


def _own_docs(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # defined where no source is kept, as in an interactive session
        return {}
    body = tree.body[0].body  # type: ignore[attr-defined]
    docs = {}
    for statement, after in pairwise(body):
        named = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[statement.target.id] = inspect.cleandoc(str(after.value.value))
    return docs
