"""``e3frame info``: versions and kernels, for bug reports and performance; or a summary of a trained model."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib import metadata

from rich.table import Table
from rich.text import Text

from e3frame.cli.arguments import Parser
from e3frame.cli.tables import console
from e3frame.compose import from_overrides
from e3frame.data.sources.base import default_cache_folder
from e3frame.spec.base import Spec
from e3frame.spec.plugins import Names, load
from e3frame.spec.words import counted, printable
from e3frame.version import __version__

_EXAMPLES = """
    e3frame info                versions, the kernels in use and why, optional libraries, folders
    e3frame info runs/first     inputs and outputs of a trained model
"""


class InfoConfig(Spec):
    """Keys of the verb."""

    model: str | None = None
    """A trained model: its model.safetensors, the folder of its run, or runs/NAME for the newest run of that name."""
    plugins: Names = ()
    """Modules to import, if the model has layers of your own, or for the status of their backends."""


def parser() -> Parser:
    return Parser("info", _EXAMPLES, words="keys", spec=InfoConfig, leading=["model"])


def main(arguments: list[str]) -> int:
    config = from_overrides(parser().key_values(arguments)).parse(InfoConfig)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(config.plugins) if config.model is None else _of_model(config.model, config.plugins):
        table.add_row(name, Text(value))
    console(width=200).print(table)
    return 0


def _of_model(path: str, plugins: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The header of a model file, read without torch."""
    from e3frame.config.header import Header

    header = Header.read(path, plugins)
    spec, task = header.spec, header.task
    units = {} if task is None else {name: task.unit(name) for name in task.targets}
    yield "file", printable(str(header.path))
    yield "written by", f"e3frame {printable(header.version, 60)}"
    if header.origin is not None:
        yield "converted from", printable(header.origin, 100)
    yield "weights", f"{header.typed.num_parameters:,}, {header.dtype}"
    if spec.symmetry == "SO(3)":
        yield "symmetry", "SO(3): mirror images may differ"
    yield "r_max", f"{spec.r_max:g} Å"
    yield "species", " ".join(spec.species)
    for name, irreps in spec.inputs.items():
        yield "reads", f"{name}: {irreps} per graph"
    for name, output in header.typed.outputs.items():
        unit = f", {units[name]}" if units.get(name) else ""
        yield "gives", printable(f"{name}: {output.field}{unit}{'' if name in units else ', not trained'}")
    if spec.plugins:
        known = header.origins
        yield "plugins", printable(", ".join(f"{p} ({known[p]})" if p in known else p for p in spec.plugins))


def _rows(plugins: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    load(plugins, plugins)
    import torch

    from e3frame import kernels

    yield "e3frame", __version__
    yield "Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "torch", f"{torch.__version__}, {counted(torch.get_num_threads(), 'thread')}"
    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    yield "CUDA", ", ".join(devices) or "no device"
    yield "kernels", kernels.backend()
    yield from kernels.statuses().items()
    yield from _optional()
    yield "cache", str(default_cache_folder())


def _optional() -> Iterator[tuple[str, str]]:
    """The optional libraries of the package's extras, except those for tests."""
    try:
        required = metadata.requires("e3frame") or []
    except metadata.PackageNotFoundError:
        return
    for requirement in required:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if extra is None or extra[1] == "test":
            continue
        name = re.match(r"[\w.-]+", requirement)[0]  # type: ignore[index]
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, f"not installed; pip install 'e3frame[{extra[1]}]'"
