"""What is said of frames before training: twins, outliers, broken ones, and those that look at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import write

from e3frame.cli import main
from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.graphs import Graph, make_graph, without_edges
from e3frame.data.pipeline.loader import load, recipe_of, surveyed
from e3frame.data.sources.base import Label
from e3frame.data.sources.sample import LABELS
from e3frame.data.sources.xyz import XyzSpec
from e3frame.preflight.checks import Requirements, _chosen, check_data
from e3frame.preflight.duplicates import _differences, _edges, check_duplicates
from e3frame.preflight.findings import Finding
from e3frame.spec.errors import DataError


def test_frames_in_two_splits(splits: Splits) -> None:
    assert [(found.level, found.text) for found in check_duplicates(splits)] == [("ok", "none")]
    twins = [splits.val[k] for k in range(20)]
    q = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    for k in range(3):
        twins[k] = splits.train[k].clone()
        twins[k].pos = twins[k].pos @ q.T + (0.002 * torch.randn(twins[k].pos.shape) if k == 2 else 0.0)
    twins[0] = renumbered(twins[0])
    (found,) = check_duplicates(Splits(splits.train, GraphDataset.from_graphs(twins, splits.val.files), None))
    assert found.level == "warning"
    assert "3 of 20 val frames are also in training (2 identical, 1 nearly identical)" in found.text


def renumbered(graph: Graph) -> Graph:
    order = torch.arange(graph.num_nodes - 1, -1, -1)
    graph = graph.clone()
    graph.pos, graph.z, graph.forces = graph.pos[order], graph.z[order], graph.forces[order]
    graph.edge_index = graph.num_nodes - 1 - graph.edge_index
    return graph


def test_every_frame_is_compared(splits: Splits) -> None:
    """Also the one that a look at every other frame would pass over; and copies within the training frames."""
    many = [splits.train[k % 450] for k in range(449)] * 9
    many[4_001] = splits.val[7].clone()
    val = splits.val[:50]  # ethanol
    said = [found.text for found in check_duplicates(Splits(GraphDataset.from_graphs(many), val, None))]
    assert said[0] == (
        "1 of 50 val frames are also in training (1 identical, 0 nearly identical): frame 457 of data=sample equals "
        "frame 457 of memory"
    )
    assert said[1].startswith("4040 of 4041 training frames appear more than once: frame 0 of memory equals frame 0 of")


def test_pieces_change_nothing(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a piece of a single frame, and frames that find their neighbours when they are read."""
    train = GraphDataset.from_graphs([*splits.train[:30], splits.val[3]])
    both = Splits(train, splits.val[:10], None)
    whole = check_duplicates(both)
    assert whole[0].text.startswith("1 of 10 val frames are also in training (1 identical")
    bare, boxed = (
        Splits(*(without_neighbours(d, periodic) for _, d in both.items()), None) for periodic in (False, True)
    )
    for piece in (1, 150, 1000):
        monkeypatch.setattr("e3frame.preflight.duplicates.PIECE", piece)
        for same in (both, bare, boxed):
            assert [f.text.split(": ")[0] for f in check_duplicates(same)] == [f.text.split(": ")[0] for f in whole]


def test_neighbours_are_those_within_the_cutoff(splits: Splits) -> None:
    frames = splits.train[:1800:300]
    bare, boxed = (without_neighbours(frames, periodic) for periodic in (False, True))
    for r_max in (1.6, 4.0):
        bare.r_max = boxed.r_max = r_max
        one, other = _edges(bare), _edges(boxed)
        assert 0 < len(one.r) == len(other.r)
        rows = [np.lexsort((e.j, e.i)) for e in (one, other)]
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a[rows[0]], b[rows[1]], atol=1e-12)
    bare.r_max, boxed.r_max = 4.0, 1.6
    same = np.arange(len(frames))
    assert (_differences(bare, frames, same, same) < 1e-12).all()
    assert np.isinf(_differences(boxed, frames, same, same)).all()


def without_neighbours(dataset: FrameSet, periodic: bool) -> GraphDataset:
    """The frames, perhaps in boxes whose images do not see each other."""
    graphs = [without_edges(graph.clone()) for graph in dataset]
    for graph in graphs:
        graph.pbc, graph.cell = torch.full((1, 3), periodic), 30 * torch.eye(3, dtype=torch.float64)[None]
    found = GraphDataset.from_graphs(graphs)
    found.r_max = 4.0
    return found


def test_frames_of_many_edges_are_few_at_once(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    edges = splits.train.counts("edge_index").numpy()
    monkeypatch.setattr("e3frame.preflight.checks.MAX_EDGES", 3000)
    for full in (False, True):
        chosen = np.array(_chosen(splits.train, full))
        assert 2000 < edges[chosen].sum() < 3500
        assert (np.diff(chosen)[::2] == 1).all()
        assert chosen[-1] > 1700


def test_outliers_and_mixed_periodicity_are_told(splits: Splits) -> None:
    copies = [splits.train[k].clone() for k in range(100)]
    copies[7].energy = copies[7].energy + 500.0
    copies[8].pbc = torch.tensor([[True, True, True]])
    dataset = GraphDataset.from_graphs(copies)
    findings = check_data(Splits(dataset, None, None), Requirements({"energy": LABELS["energy"]}, species=("H", "C")))
    said = {finding.check: (finding.level, finding.text) for finding in findings}
    assert said["periodicity"] == (
        "warning",
        "99 frames not periodic, 1 frame periodic; C2H6O: 1 of 100 frames periodic (first frame 8 of memory)",
    )
    copies[8] = splits.train[1700].clone()  # furan
    copies[8].pbc = torch.tensor([[True, True, False]])
    findings = check_data(Splits(GraphDataset.from_graphs(copies), None, None), Requirements({}))
    assert findings[0] == Finding(
        "periodicity",
        "ok",
        "99 frames not periodic, 1 frame periodic along a and b "
        "(different compounds; only periodic frames have a stress)",
    )
    assert said["elements"] == ("error", "the model does not know O")
    assert said["energy"][0] == "warning"
    assert said["energy"][1].startswith("1 of 100 frames are outliers")


def test_check_looks_at_files(
    tmp_path: Path, frames: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.xyz", frames(30), format="extxyz")
    given = ["check", "data=xyz", "data.path=a.xyz", "model.r_max=4"]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "labels of the training frames" in out
    assert "frames in two splits" in out
    assert out.endswith("\nchecked 24 of 24 train, 3 of 3 val, 3 of 3 test frames\n")
    assert main([*given, "--no-data"]) == 0
    assert "labels" not in capsys.readouterr().out
    write("a.xyz", frames(5), format="extxyz")
    assert main([*given, "data.keys.forces=F"]) == 1
    assert "no key 'F' for the label forces" in capsys.readouterr().err


def test_broken_frames_are_counted(
    tmp_path: Path, frames: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that cannot be read, and those that cannot be used; what is left is looked at all the same."""
    monkeypatch.chdir(tmp_path)
    made = frames(40)
    for k in (3, 9, 17, 21, 30, 38):
        made[k].positions[k % 6, 0] = 50.0
    made[5].positions[2, 1] = np.nan
    made[6].positions[4, 0] = np.inf
    made[12].calc.results.pop("forces")
    write("a.xyz", made, format="extxyz")
    given = ["check", "data=xyz", "data.path=a.xyz", "model.r_max=4"]
    for arguments in (given, [*given, "--full"]):
        assert main(arguments) == 1
        out = " ".join(capsys.readouterr().out.split())
        assert (
            "error broken frames 6 of 40: atom 3 (H) has no neighbour within r_max = 4 Å (frames 3, 9, 17, 21, " in out
        )
        assert "2 of 40: the position of atom 2 is not finite: [" in out
        assert "(frames 5, 6 of a.xyz)" in out
        assert "1 of 40: no key 'forces' for the label forces (frame 12 of a.xyz)" in out
        assert "checked 31 valid frames" in out


def test_frames_that_cannot_be_read(tmp_path: Path, frames: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those after them are read all the same, by one process or several, and a run that does not take them is one."""
    monkeypatch.chdir(tmp_path)
    write("a.xyz", frames(12), format="extxyz")
    lines = Path("a.xyz").read_text().splitlines()
    for k in (2, 3, 7):
        lines[8 * k + 4] = lines[8 * k + 4].replace(".", "x", 1)
    Path("a.xyz").write_text("\n".join(lines) + "\n")
    spec, labels = XyzSpec(path="a.xyz"), {"energy": Label("graph")}
    recipe = replace(recipe_of(spec, 4.0, labels), piece=4)
    for processes in (1, 2):
        found = surveyed([recipe], processes)
        assert [error.frame for error in found.broken] == [2, 3, 7]
        assert {error.problem.split(":")[0] for error in found.broken} == {"cannot be read as extxyz"}
        dataset = GraphDataset.from_chunks(found.sound, found.files)
        assert dataset.stacked("frame").tolist() == [0, 1, 4, 5, 6, 8, 9, 10, 11]
    with pytest.raises(DataError, match=r"a\.xyz, frame 2\n"):
        load(spec, 4.0, labels)
    Path("index").write_text("0 4 9 11")
    split = {"method": "index", "train_index": "index"}
    assert len(load(XyzSpec(path="a.xyz", split=split), 4.0, labels).train) == 3


def test_broken_frames_of_several_files_and_of_bare_graphs(
    tmp_path: Path, frames: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern stands for several files, the sound frames of each are told from their file, and edges are found."""
    monkeypatch.chdir(tmp_path)
    made = frames(40)
    made[3].positions[2, 1] = np.nan
    made[30].calc.results["energy"] += 1e4
    write("a_1.xyz", made[:20], format="extxyz")
    write("a_2.xyz", made[20:], format="extxyz")
    given = ["check", "data=xyz", "data.path=a_*.xyz", "model.r_max=4"]
    for arguments in (given, [*given, "data.neighbors=computed"]):
        assert main(arguments) == 1
        out = " ".join(capsys.readouterr().out.split())
        assert "1 of 40: the position of atom 2 is not finite: [" in out
        assert "(frame 3 of a_1.xyz)" in out
        assert "in frame 10 of a_2.xyz" in out


def test_twins_that_are_single_atoms() -> None:
    """Such as the reference atom in each of two files."""
    lone = make_graph(molecule("H2O")[:1], 4.0)
    graphs = [make_graph(molecule(name), 4.0) for name in ("H2O", "CH4", "NH3")] + [lone, lone.clone()]
    for k, graph in enumerate(graphs):
        graph.frame = torch.tensor([k])
    found = check_duplicates(Splits(GraphDataset.from_graphs(graphs), None, None))
    assert [finding.text for finding in found if "frame 3" in finding.text] != []


def test_an_outlier_among_labels_of_edges_is_found_in_its_frame() -> None:
    """Also where there are as many edges as atoms, or as frames."""
    lone, pair = make_graph(molecule("H2O")[:1], 4.0), make_graph(molecule("H2"), 4.0)
    triangle = make_graph(molecule("H2O"), 4.0)
    graphs = [graph.clone() for graph in [*[lone] * 9, *[triangle] * 3, *[pair] * 20]]
    rng = np.random.default_rng(0)
    for k, graph in enumerate(graphs):
        graph.frame = torch.tensor([k])
        graph.J = torch.from_numpy(rng.normal(size=graph.edge_index.shape[1]))
    assert sum(graph.num_nodes for graph in graphs) == sum(graph.edge_index.shape[1] for graph in graphs)
    graphs[10].J[3] = 1e3
    findings = check_data(Splits(GraphDataset.from_graphs(graphs), None, None), Requirements({"J": Label("edge")}))
    (text,) = [found.text for found in findings if found.check == "J"]
    assert text.startswith("1 of 58 edges are outliers, the largest ")
    assert text.endswith("in frame 10 of memory")
