"""Plugins: modules that register kinds of any family, quantities or backends when they are imported.

Whether a plugin may be imported is decided here and nowhere else. A config, a model file and a checkpoint are data: no
module is imported only because one of them names it. A plugin is imported if it is installed, as an entry point of the
group ``e3frame.plugins``, or if the user names it, on the command line or as an argument in Python. What is imported
already needs no import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from e3frame.spec.errors import SpecError, did_you_mean

GROUP = "e3frame.plugins"


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
    """Hint for the import of a plugin that only a file names."""
    return f"if you trust it: plugins={plugin} on the command line, plugins=[{plugin!r}] in Python"


class Origin(NamedTuple):
    """The distribution that a plugin was installed from, as ``pip install`` takes it."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


def origin(plugin: str) -> Origin | None:
    """The distribution that holds a plugin; None for a module that is part of no installed one."""
    entry = installed().get(plugin)
    if entry is not None and entry.dist is not None:
        return Origin(entry.dist.name, entry.dist.version)
    for distribution in packages_distributions().get(package_of(plugin), ()):
        try:
            return Origin(distribution, version(distribution))
        except PackageNotFoundError:
            continue
    return None


def package_of(plugin: str) -> str:
    """The top-level package of a plugin, given by the name of its entry point or its module."""
    entry = installed().get(plugin)
    return (plugin if entry is None else entry.module).partition(".")[0]


def load(plugins: Iterable[str], named: Collection[str] = ()) -> None:
    """Import plugins; all of them are trusted, or none is imported.

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
