"""Small models of mace-torch, with the energies, forces and stresses that it gives; see scripts/make_mace_models.py."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ARCHIVE", "models", "unpacked"]

ARCHIVE = Path(__file__).parents[1] / "convert" / "mace.tar.xz"


def unpacked(folder: Path, archive: Path = ARCHIVE) -> dict[str, list[dict[str, Any]]]:
    """Put the models into a folder, as ``<name>.model``; return what their program gives, by name."""
    with tarfile.open(archive) as opened:
        for entry in opened.getmembers():
            content = opened.extractfile(entry)
            assert content is not None
            (folder / entry.name).write_bytes(content.read())
    found: dict[str, list[dict[str, Any]]] = json.loads((folder / "references.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``<name>.model`` for each model, and ``references.json``."""
    folder = tmp_path_factory.mktemp("mace")
    unpacked(folder)
    return folder
