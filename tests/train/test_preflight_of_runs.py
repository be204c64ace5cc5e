"""Training looks at the data first."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rich.console import Console
from support.runs import MakeConfig, run

from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label
from e3frame.data.sources.sample import SampleSpec
from e3frame.spec.errors import DataError


def test_gradients_in_place_of_forces_are_refused(make_config: MakeConfig, cache: str, tmp_path: Path) -> None:
    labels = {"energy": Label("graph"), "forces": Label("node", (3,))}
    train = load(SampleSpec(cache_dir=cache), 4.0, labels).train
    frames = []
    for k in range(0, 900, 9):
        graph = train[k]
        atoms = Atoms(graph.z.numpy(), graph.pos.numpy())
        atoms.calc = SinglePointCalculator(atoms, energy=float(graph.energy), forces=-graph.forces.numpy())
        frames.append(atoms)
    path = tmp_path / "a.traj"
    write(path, frames)
    data = {"kind": "xyz", "path": str(path), "cache_dir": cache, "split": {"method": "random"}}
    changes = {"data": data, "trainer.max_epochs": 1}
    with pytest.raises(DataError) as caught:
        run(make_config(changes), tmp_path / "refused", Console(file=io.StringIO()))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("  forces against energy: the forces are the gradient of the energy, not its negative (")
    assert lines[1:] == [
        "  flip the sign of the forces in the file (multiply by -1)",
        "  set data.preflight=warn to train anyway",
    ]
    for mode, warned in (("warn", True), ("off", False)):
        console = Console(file=io.StringIO(), record=True, width=120)
        run(make_config({**changes, "data": {**data, "preflight": mode}}), tmp_path / mode, console)
        assert ("not its negative" in console.export_text()) == warned
