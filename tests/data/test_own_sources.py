"""A format of files and a data set that are not ours: a class each, and nothing else to be edited."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3frame.data.pipeline.loader import excerpt, load, survey
from e3frame.data.sources.base import DataSpec, Label, parse_data
from e3frame.data.sources.sample import SampleSpec
from e3frame.spec.errors import DataError

LABELS = {"energy": Label("graph")}
PLUGIN = '''
"""Diatomic molecules: a table of files, and curves that are computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from e3frame.data.sources.base import DividedSpec
from e3frame.data.sources.files import FilesSpec

if TYPE_CHECKING:
    from ase import Atoms


class DimerTable(FilesSpec):
    """Dimers in a table: two elements, a distance and an energy in each row."""

    kind: Literal["dimer_table"] = "dimer_table"
    separator: str = ","
    """Between the columns."""

    def read(self, file: str) -> Iterator[Atoms]:
        from ase import Atoms

        with open(file) as rows:
            for row in rows:
                one, other, distance, energy = row.split(self.separator)
                yield Atoms([one, other], [[0, 0, 0], [0, 0, float(distance)]], info={"energy": float(energy)})


class Morse(DividedSpec):
    """A made-up curve of N2."""

    kind: Literal["morse"] = "morse"
    points: int = 10
    """Distances, at even steps."""

    @property
    def label_names(self) -> tuple[str, ...]:
        return ("energy",)

    @property
    def known_species(self) -> tuple[str, ...]:
        return ("N",)

    def read(self, file: str) -> Iterator[Atoms]:
        import numpy as np
        from ase import Atoms

        for r in np.linspace(1.0, 2.0, self.points):
            yield Atoms("N2", [[0, 0, 0], [0, 0, r]], info={"energy": (1 - np.exp(1.1 - r)) ** 2})
'''


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The module is imported as a plugin is, and forgotten at the end."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "dimers.py").write_text(PLUGIN)
    known = dict(DataSpec.members)
    sys.path.insert(0, str(folder))
    try:
        __import__("dimers")
        yield
    finally:
        sys.path.remove(str(folder))
        del sys.modules["dimers"]
        DataSpec.members.clear()
        DataSpec.members.update(known)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twenty rows, longer and longer."""
    path = tmp_path / "dimers.csv"
    path.write_text("".join(f"N,O,{1 + 0.01 * k},{k}\n" for k in range(20)))
    return path


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_format(table: Path, processes: int, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = parse_data({"kind": "dimer_table", "path": str(table), "processes": processes, "storage": storage})
    monkeypatch.setattr(type(data), "piece", 3)
    splits = load(data, 4.0, LABELS)
    assert {name: len(dataset) for name, dataset in splits.items()} == {"train": 16, "val": 2, "test": 2}
    assert splits.test.stacked("energy").tolist() == [18.0, 19.0]
    assert splits.train.species == ("N", "O")
    assert splits.val.where(1) == (str(table), 17)
    few, totals = excerpt(data, 4.0, LABELS)
    assert totals == {"train": 16, "val": 2, "test": 2}
    assert len(few.train) == 16


def test_options_and_units_of_a_format(table: Path) -> None:
    """Frames are kept by what they depend on: the options of the kind do change them, those of all kinds do not."""
    raw = {"kind": "dimer_table", "path": str(table), "split": {"val": 0, "test": 0}}
    train = load(parse_data(raw | {"units": {"energy": "meV"}}), 4.0, LABELS).train
    assert train.stacked("energy")[5] == pytest.approx(0.005)
    paths = {load(parse_data(raw | more), 4.0, LABELS).train.cached for more in ({}, {"batch_size": 3})}
    assert len(paths) == 1
    table.write_text(table.read_text().replace(",", ";"))
    semicolons = load(parse_data(raw | {"separator": ";"}), 4.0, LABELS).train
    table.write_text(table.read_text().replace(";", ","))
    commas = load(parse_data(raw), 4.0, LABELS).train
    assert semicolons.cached not in paths
    assert commas.cached in paths
    assert len({parse_data(raw | {"separator": s}).read_options()[0] for s in ",;"}) == 2


def test_what_a_reader_raises_is_the_error_of_a_frame(table: Path) -> None:
    rows = table.read_text().splitlines()
    rows[7] = "N,O,long,1"
    table.write_text("\n".join(rows))
    data = parse_data({"kind": "dimer_table", "path": str(table)})
    with pytest.raises(DataError) as caught:
        load(data, 4.0, LABELS)
    problem = "cannot be read as dimer_table: could not convert string to float: 'long'"
    assert str(caught.value) == f"{table}, frame 7\n  {problem}"
    found = survey(data, 4.0, LABELS, full=True)
    assert [error.frame for error in found.broken] == [7]
    assert len(found.sound[0].counts["z"]) == 7
    table.write_text("")
    with pytest.raises(DataError, match="no frames"):
        load(data, 4.0, LABELS)


def test_a_data_set() -> None:
    splits = load(parse_data({"kind": "morse", "points": 30}), 4.0, LABELS)
    assert [len(dataset) for _, dataset in splits.items()] == [24, 3, 3]
    assert splits.train.files == ("data=morse",)
    assert len(load(parse_data({"kind": "morse", "points": 50}), 4.0, LABELS).train) == 40
    with pytest.raises(DataError, match="the data have no label forces"):
        load(parse_data({"kind": "morse"}), 4.0, {"forces": Label("node", (3,))})


def test_broken_frames_of_any_source_are_told_apart() -> None:
    """Hydrogen and oxygen have no neighbour within this distance; frames without such an atom are sound."""
    found = survey(SampleSpec(molecules=("furan",), num_train=20), 0.9, LABELS, full=True)
    assert found.broken
    assert {error.file for error in found.broken} == {"data=sample"}
