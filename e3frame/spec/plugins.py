"""Plugins: modules that register kinds of any family, quantities or backends when they are imported.

This module alone decides which plugins may be imported. A config, a model file and a checkpoint are data: no module is
imported only because one of them names it. A plugin is imported if it is installed, as an entry point of the group
``e3frame.plugins``, or if the user names it, on the command line or as an argument in Python. Modules that are already
imported are always allowed.
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
"""Type of the argument by which the user names plugins: ``plugins=a`` or ``plugins=[a,b]``."""


def installed() -> dict[str, EntryPoint]:
    """Return the installed plugins, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def untrusted(plugins: Iterable[str], named: Collection[str] = ()) -> str | None:
    """Return the first plugin that is neither named by the user, nor installed, nor imported, or None.

    Args:
        plugins: plugins listed in a config or a model file.
        named: plugins named by the user.
    """
    known = installed()
    return next((p for p in plugins if p not in known and p not in named and p not in sys.modules), None)


def way_to_trust(plugin: str) -> str:
    """Return a hint how to allow a plugin."""
    return f"if you trust it: plugins={plugin} on the command line, plugins=[{plugin!r}] in Python"


class Origin(NamedTuple):
    """Distribution that a plugin was installed from, by the name that ``pip install`` uses."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


def origin(plugin: str) -> Origin | None:
    """Return the distribution of a plugin; None for a module that belongs to no installed distribution."""
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
    """Return the top-level package of a plugin, given by the name of its entry point or its module."""
    entry = installed().get(plugin)
    return (plugin if entry is None else entry.module).partition(".")[0]


def load(plugins: Iterable[str], named: Collection[str] = ()) -> None:
    """Import plugins. If one of them is not trusted, none is imported.

    Raises:
        SpecError: a plugin is not trusted, or cannot be imported.
    """
    plugins = list(plugins)
    stranger = untrusted(plugins, named)
    if stranger is not None:
        problem = f"the plugin {stranger} is not imported: it is named by a file, not by you"
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
    """Add the current folder to the import path, for modules that the user names."""
    here = os.getcwd()
    if not sys.flags.safe_path and here not in sys.path and "" not in sys.path:
        sys.path.append(here)
