"""``e3frame info``: what runs here, for reports of problems and for those who wonder why it is slow."""

from __future__ import annotations

import argparse
import platform
import re
from collections.abc import Iterator
from importlib import metadata

from rich.console import Console
from rich.table import Table
from rich.text import Text

import e3frame
from e3frame.data.base import default_cache_folder
from e3frame.spec.errors import UserError
from e3frame.spec.words import counted


def main(arguments: list[str]) -> int:
    description = "Versions, the kernels in use and why, optional libraries, folders."
    argparse.ArgumentParser("e3frame info", description=description).parse_args(arguments)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows():
        table.add_row(name, Text(value))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
    return 0


def _rows() -> Iterator[tuple[str, str]]:
    import torch

    from e3frame import kernels

    yield "e3frame", e3frame.__version__
    yield "Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "torch", f"{torch.__version__}, {counted(torch.get_num_threads(), 'thread')}"
    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    yield "CUDA", ", ".join(devices) or "no device"
    try:
        yield "kernels", kernels.backend()
    except ValueError as error:  # an environment variable that is not understood
        raise UserError(str(error)) from None
    yield from _optional()
    yield "cache", str(default_cache_folder())


def _optional() -> Iterator[tuple[str, str]]:
    """Each library of an extra, as the package's metadata name them; those for tests left out."""
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
