"""Specs of data: what is rejected, in which words, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import yaml

from e3frame.data.sources.base import AnyData, DataSpec, parse_data
from e3frame.data.sources.sample import SampleSpec
from e3frame.data.sources.xyz import XyzSpec
from e3frame.spec.base import Spec
from e3frame.spec.validate import SpecErrors, validate

NEEDED = {kind: {"path": "a.xyz"} for kind in ("xyz", "npz", "ase_db")} | {
    "md17": {"molecule": "ethanol"},
    "rmd17": {"molecule": "ethanol"},
}
CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "data").glob("*.yaml"))


class Run(Spec):
    data: AnyData


MISTAKES = {
    "no kind": (
        {},
        "data\n  'kind' is required: it names the data set\n  kinds: ase_db, md17, npz, qm9, rmd17, sample, xyz",
    ),
    "unknown kind": ({"kind": "smaple"}, "data.kind\n  no data set is named smaple\n  did you mean sample?"),
    "unknown key": ({"kind": "xyz", "paht": "a"}, "data.paht\n  unknown key\n  did you mean path?"),
    "path null": (
        {"kind": "xyz", "path": None},
        "data.path\n  data.path is required: the file or files to read\n  for example data.path=train.xyz",
    ),
    "path absent": (
        {"kind": "xyz"},
        "data.path\n  data.path is required: the file or files to read\n  for example data.path=train.xyz",
    ),
    "path a number": ({"kind": "xyz", "path": 3}, "data.path\n  a file or a list of files is required, got 3"),
    "path empty": ({"kind": "xyz", "path": ""}, "data.path\n  a file or a list of files is required, got ''"),
    "paths empty": ({"kind": "xyz", "path": []}, "data.path\n  a file or a list of files is required, got []"),
    "unit of energy": (
        {"kind": "xyz", "path": "a", "units": {"energy": "ev"}},
        "data.units.energy\n  ev is not a unit of energy\n  did you mean eV? "
        "known: eV, meV, Hartree, Ry, kcal/mol, kJ/mol",
    ),
    "unit of length": (
        {"kind": "xyz", "path": "a", "units": {"length": "parsec"}},
        "data.units.length\n  parsec is not a unit of length\n  known: Å, bohr, nm",
    ),
    "unit no name": (
        {"kind": "xyz", "path": "a", "units": {"length": 1.0}},
        "data.units.length\n  expected a unit of length, got 1.0\n  known: Å, bohr, nm",
    ),
    "split size": (
        {"kind": "xyz", "path": "a", "split": {"train": 1.5}},
        "data.split.train\n  a number of frames, a fraction between 0 and 1, or rest is required, got 1.5\n"
        "  for example 950, 0.8 or rest",
    ),
    "split negative": (
        {"kind": "xyz", "path": "a", "split": {"val": -1}},
        "data.split.val\n  a number of frames, a fraction between 0 and 1, or rest is required, got -1\n"
        "  for example 950, 0.8 or rest",
    ),
    "two rests": (
        {"kind": "xyz", "path": "a", "split": {"test": "rest"}},
        "data.split\n  only one split can be rest, got train and test",
    ),
    "split method": (
        {"kind": "xyz", "path": "a", "split": {"method": "tim"}},
        "data.split.method\n  must be one of time, random, group, index; got tim\n  did you mean time?",
    ),
    "size and file": (
        {"kind": "xyz", "path": "a", "test_path": "b", "split": {"test": 10}},
        "data\n  test_path and split.test exclude each other: all frames of test_path are used\n"
        "  remove split.test or test_path",
    ),
    "label name": (
        {"kind": "xyz", "path": "a", "keys": {"pos": "p"}},
        "data.keys\n  pos is a reserved name; rename this label\n"
        "  reserved: batch, cell, edge_index, edge_shift, edges, file, frame, group, num_graphs, num_nodes, pbc, pos,"
        " ptr, slices, z",
    ),
    "neighbours of labelled edges": (
        {"kind": "xyz", "path": "a", "keys": {"J": "J"}, "edges": {"J": {"index": "ij"}}, "neighbors": "computed"},
        "data\n  labels per edge need stored neighbours, but neighbors: computed recomputes them\n"
        "  remove neighbors: computed",
    ),
    "noise on labelled edges": (
        {"kind": "xyz", "path": "a", "keys": {"J": "J"}, "edges": {"J": {"index": "ij"}}, "augment": {"noise": 0.1}},
        "data\n  labels per edge need stored neighbours, but augment recomputes them\n  remove augment",
    ),
    "batch size": ({"kind": "sample", "batch_size": 0}, "data.batch_size\n  must be >= 1, got 0"),
    "batch size of another kind": (
        {"kind": "sample", "eval_batch_size": "many"},
        "data.eval_batch_size\n  a number of frames, or a budget, is required, got many\n"
        "  for example 8, {atoms: 500} or {edges: 10000}",
    ),
    "two budgets": (
        {"kind": "sample", "batch_size": {"atoms": 500, "edges": 10000}},
        "data.batch_size\n  atoms or edges is required, got both: atoms 500, edges 10000\n"
        "  for example {atoms: 500} or {edges: 10000}",
    ),
    "no budget": (
        {"kind": "sample", "batch_size": {}},
        "data.batch_size\n  atoms or edges is required, got neither\n  for example {atoms: 500} or {edges: 10000}",
    ),
    "budget of nothing": (
        {"kind": "sample", "batch_size": {"edges": 0}},
        "data.batch_size.edges\n  must be >= 1, got 0",
    ),
    "unknown budget": (
        {"kind": "sample", "batch_size": {"atom": 500}},
        "data.batch_size.atom\n  unknown key\n  did you mean atoms?",
    ),
    "too much noise": ({"kind": "sample", "augment": {"noise": 0.3}}, "data.augment.noise\n  must be <= 0.2, got 0.3"),
    "no noise": (
        {"kind": "sample", "augment": {}},
        "data.augment.noise\n  this key is required: Standard deviation in Å of a random shift of every coordinate;"
        " neighbours are recomputed.",
    ),
    "rotations": (
        {"kind": "sample", "augment": {"rotations": True, "noise": 0.01}},
        "data.augment.rotations\n  unknown key\n  keys: noise",
    ),
    "storage": (
        {"kind": "sample", "storage": "disc"},
        "data.storage\n  must be one of memory, disk; got disc\n  did you mean disk?",
    ),
    "molecule": (
        {"kind": "sample", "molecules": ["benzene"]},
        "data.molecules\n  no molecule is named benzene\n  molecules: ethanol, acetamide, acetic_acid, furan",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case: str) -> None:
    raw, message = MISTAKES[case]
    with pytest.raises(SpecErrors) as caught:
        validate(Run, {"data": raw})
    assert str(caught.value.errors[0]) == message


def test_configs_are_valid_and_show_every_option() -> None:
    assert len(CONFIGS) >= 7
    for path in CONFIGS:
        raw = yaml.safe_load(path.read_text())
        spec = parse_data(raw | NEEDED.get(raw["kind"], {}))
        assert spec.kind == path.stem
        assert set(raw) == set(type(spec).model_fields)
        defaults = parse_data({"kind": path.stem} | NEEDED.get(path.stem, {}))
        assert spec == defaults


def test_round_trip() -> None:
    for spec in (
        SampleSpec(molecules=("furan",), batch_size={"atoms": 500}),
        XyzSpec(path="a.xyz", units={"energy": "Ha", "length": "A"}),
    ):
        assert parse_data(spec.model_dump(mode="json")) == spec
    assert XyzSpec(path="a.xyz", units={"energy": "Ha"}).units.energy == "Hartree"


def test_a_new_kind_registers_itself_and_none_twice() -> None:
    try:

        class Toy(DataSpec):
            kind: Literal["toy"] = "toy"

        assert isinstance(parse_data({"kind": "toy"}), Toy)
        with pytest.raises(TypeError, match="data set kind 'toy' is defined twice"):

            class Other(DataSpec):
                kind: Literal["toy"] = "toy"

    finally:
        DataSpec.members.pop("toy", None)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E3FRAME_CACHE", "/somewhere")
    assert SampleSpec().cache_folder() == Path("/somewhere")
    assert SampleSpec(cache_dir="~/here").cache_folder() == Path.home() / "here"
    monkeypatch.delenv("E3FRAME_CACHE")
    assert SampleSpec().cache_folder() == Path.home() / ".cache" / "e3frame"


def test_specs_import_nothing_heavy() -> None:
    code = (
        "import sys; from e3frame.data.sources.base import parse_data; parse_data({'kind': 'xyz', 'path': 'a'});"
        "print([name for name in ('torch', 'lightning', 'hydra', 'numpy', 'ase') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
