"""Plugins: modules that define further kinds. Whether one may be imported is decided here and nowhere else.

A config, a model file and a checkpoint are data: that one of them names a module is no reason to import it. A plugin is
imported if it is installed as an entry point of the group ``e3frame.layers``, or if the user names it, on the command
line or as an argument in Python. What is imported already needs no import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

from pydantic import BeforeValidator

from e3frame.spec.errors import SpecError, did_you_mean

GROUP = "e3frame.layers"


def _several(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
"""Plugins that the user names as an argument of a verb: ``plugins=a`` or ``plugins=[a,b]``."""


def installed() -> dict[str, EntryPoint]:
    """Plugins that are installed, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def untrusted(plugins: Iterable[str], named: Collection[str] = ()) -> str | None:
    """The first of the plugins that neither the user names nor anybody installed, or None.

    Args:
        plugins: as a config or a model file lists them.
        named: by the user himself.
    """
    known = installed()
    return next((p for p in plugins if p not in known and p not in named and p not in sys.modules), None)


def way_to_trust(plugin: str) -> str:
    """What to do if the plugin is to be imported."""
    return f"if you trust it: plugins={plugin} on the command line, plugins=[{plugin!r}] in Python"


def load(plugins: Iterable[str], named: Collection[str] = ()) -> None:
    """Import plugins, which register their kinds; all of them are trusted, or none is imported.

    Raises:
        SpecError: one is not trusted, or cannot be imported.
    """
    plugins = list(plugins)
    stranger = untrusted(plugins, named)
    if stranger is not None:
        problem = f"the plugin {stranger} is not imported: only a file names it"
        raise SpecError(("plugins",), problem, way_to_trust(stranger))
    for plugin in plugins:
        _import(plugin)


def _import(plugin: str) -> None:
    known = installed()
    if plugin in sys.modules:
        return
    try:
        if plugin in known:
            known[plugin].load()
            return
        _look_here()
        import_module(plugin)
    except Exception as error:  # the plugin's own code runs, and may do anything
        problem = f"{type(error).__name__}: {error}" if not isinstance(error, ImportError) else str(error)
        hint = did_you_mean(plugin, known, "installed plugins")
        raise SpecError(("plugins",), f"the plugin {plugin} cannot be imported: {problem}", hint) from None


def _look_here() -> None:
    """A module that the user names may be in the current folder, also where Python was not started there."""
    here = os.getcwd()
    if not sys.flags.safe_path and here not in sys.path and "" not in sys.path:
        sys.path.append(here)
