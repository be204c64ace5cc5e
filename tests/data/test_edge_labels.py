"""Labels of pairs of atoms: which edge gets which value, from every source, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.db import connect
from ase.io import write
from ase.neighborlist import neighbor_list

from e3frame.data.pipeline.dataset import GraphDataset
from e3frame.data.pipeline.edge_labels import beyond_key
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label, parse_data
from e3frame.data.sources.xyz import XyzSpec
from e3frame.evaluate.labels import Held
from e3frame.spec.errors import DataError
from e3frame.spec.validate import SpecErrors, validate

SCALAR, VECTOR, MATRIX = Label("edge"), Label("edge", (3,)), Label("edge", (3, 3))
R_MAX = 3.2


def crystal(seed: int = 0) -> Atoms:
    """A cell so small that atoms have several images of each other as neighbours."""
    atoms = bulk("NiAl", "cesiumchloride", a=2.6)
    atoms.rattle(0.1, seed=seed)
    return atoms


def pairs_of(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(k, 2) and (k, 3) as ASE finds them, and the vectors; the first atom is the one whose image is taken."""
    target, source, image, vectors = neighbor_list("ijSD", atoms, cutoff)
    return np.stack([source, target], 1), image, vectors


def loaded(path: Path, label: Label = SCALAR, kind: str = "xyz", **more: Any) -> GraphDataset:
    edges = more.pop("edges", {"index": "ij"})
    raw = {"kind": kind, "path": str(path), "keys": {"J": "J"}, "edges": {"J": edges}, "split": {"val": 0, "test": 0}}
    return load(parse_data(raw | more), R_MAX, {"J": label}).train


def vectors_of(graph: Any) -> np.ndarray:
    j, i = graph.edge_index
    return (graph.pos[j] + graph.edge_shift - graph.pos[i]).numpy()


@pytest.mark.parametrize("label", [SCALAR, VECTOR, MATRIX], ids=["scalar", "vector", "matrix"])
def test_every_edge_gets_the_value_of_its_pair(label: Label, tmp_path: Path) -> None:
    """The value is a function of the vector, which all images have another of; the rows are in no order."""
    frames, random = [crystal(k) for k in range(3)], np.random.default_rng(0)
    of_vectors = {
        SCALAR: lambda v: v @ [1.0, 2.0, 3.0],
        VECTOR: lambda v: v * [1.0, 2.0, 3.0],
        MATRIX: lambda v: v[:, :, None] * (v + 1.0)[:, None, :],
    }[label]
    for atoms in frames:
        index, image, vectors = pairs_of(atoms, R_MAX + 0.5)
        order = random.permutation(len(index))
        atoms.info = {"ij": index[order], "S": image[order], "J": of_vectors(vectors[order])}
    write(tmp_path / "a.xyz", frames)
    dataset = loaded(tmp_path / "a.xyz", label, edges={"index": "ij", "shift": "S"})
    assert len(dataset) == 3
    for atoms, graph in zip(frames, dataset, strict=True):
        assert graph.J.shape == (graph.edge_index.shape[1], *label.shape)
        np.testing.assert_allclose(graph.J, of_vectors(vectors_of(graph)), atol=1e-6)
        beyond = (np.linalg.norm(pairs_of(atoms, R_MAX + 0.5)[2], axis=1) > R_MAX).sum()
        assert beyond > 0
        assert int(graph[beyond_key("J")]) == beyond


@pytest.mark.parametrize("reverse", ["same", "negative", "transposed"])
def test_pairs_that_stand_for_both_directions(reverse: str, tmp_path: Path) -> None:
    atoms, random = crystal(), np.random.default_rng(0)
    index, image, vectors = pairs_of(atoms, R_MAX + 0.5)
    half = [k for k, v in enumerate(vectors) if tuple(v) > (0, 0, 0)]
    assert 2 * len(half) == len(vectors)
    values = random.normal(size=(len(half), 3, 3))
    atoms.info = {"ij": index[half], "S": image[half], "J": values}
    write(tmp_path / "a.xyz", atoms)
    graph = loaded(tmp_path / "a.xyz", MATRIX, edges={"index": "ij", "shift": "S", "reverse": reverse})[0]
    turned = {"same": values, "negative": -values, "transposed": values.transpose(0, 2, 1)}[reverse]

    def place(pair: np.ndarray, vector: np.ndarray) -> tuple:
        return *map(int, pair), *(np.round(vector, 4) + 0.0)

    known = {place(*at): x for *at, x in zip(index[half], vectors[half], values, strict=True)}
    known |= {place(*at): x for *at, x in zip(index[half, ::-1], -vectors[half], turned, strict=True)}
    for *at, value in zip(graph.edge_index.T, vectors_of(graph), graph.J, strict=True):
        np.testing.assert_allclose(value, known[place(*at)], atol=1e-7)
    assert int(graph[beyond_key("J")]) == (np.linalg.norm(vectors[half], axis=1) > R_MAX).sum()
    one_way = loaded(tmp_path / "a.xyz", MATRIX, edges={"index": "ij", "shift": "S"})[0]
    assert int(one_way.J.isnan().all(2).all(1).sum()) == one_way.edge_index.shape[1] // 2


def bonds() -> list[Atoms]:
    """Water and ammonia with a value on each bond, from the heavy atom to the hydrogen."""
    made = []
    for name in ("H2O", "NH3", "H2O"):
        atoms = molecule(name)
        count = len(atoms) - 1
        atoms.info = {"ij": np.array([[0, k + 1] for k in range(count)]), "J": 1.0 + np.arange(count) + len(made)}
        made.append(atoms)
    return made


def as_xyz(path: Path) -> Path:
    write(path / "a.xyz", bonds())
    return path / "a.xyz"


def as_db(path: Path) -> Path:
    with connect(path / "a.db") as database:
        for atoms in bonds():
            database.write(Atoms(atoms.symbols, atoms.positions), data=atoms.info)
    return path / "a.db"


def as_npz(path: Path) -> Path:
    """Rows of no atom come first here, so that atoms have other numbers in the array; rows of -1 are no pairs."""
    numbers, positions = np.zeros((3, 4), int), np.zeros((3, 4, 3))
    index, values = np.full((3, 4, 2), -1), np.full((3, 4), np.nan)
    for k, atoms in enumerate(bonds()):
        first, count = 4 - len(atoms), len(atoms) - 1
        numbers[k, first:], positions[k, first:] = atoms.numbers, atoms.positions
        index[k, :count], values[k, :count] = atoms.info["ij"] + first, atoms.info["J"]
    np.savez(path / "a.npz", z=numbers, R=positions, ij=index, J=values)
    return path / "a.npz"


@pytest.mark.parametrize(("kind", "source"), [("xyz", as_xyz), ("ase_db", as_db), ("npz", as_npz)])
def test_every_source_has_labels_of_pairs(kind: str, source: Any, tmp_path: Path) -> None:
    path = source(tmp_path)
    for _ in ("made", "kept on disk"):
        dataset = loaded(path, kind=kind, edges={"index": "ij", "reverse": "same"})
        for number, graph in enumerate(dataset):
            heavy = (graph.edge_index == 0).any(0)
            other = graph.edge_index.amax(0)
            np.testing.assert_allclose(graph.J[heavy], other[heavy] + number)
            assert graph.J[~heavy].isnan().all()
            assert len(graph.J) > int(heavy.sum()) == 2 * (graph.num_nodes - 1)
    assert loaded(path, kind=kind)[0].J.isnan().sum() > dataset[0].J.isnan().sum()  # another option is another cache


def test_written_by_hand(tmp_path: Path) -> None:
    """Arrays may stand flat in a line of extended XYZ, and a single pair as bare numbers."""
    text = '3\nProperties=species:S:1:pos:R:3 ij="0 1 0 2" J="0.5 0.7"\nO 0 0 0\nH 0.9 0 0\nH 0 0.9 0\n'
    text += '3\nProperties=species:S:1:pos:R:3 ij="2 0" J=0.25\nO 0 0 0\nH 0.9 0 0\nH 0 0.9 0\n'
    (tmp_path / "a.xyz").write_text(text)
    one, two = loaded(tmp_path / "a.xyz")
    for graph, known in ((one, {(0, 1): 0.5, (0, 2): 0.7}), (two, {(2, 0): 0.25})):
        for (j, i), value in zip(graph.edge_index.T.tolist(), graph.J.tolist(), strict=True):
            assert value == known[j, i] if (j, i) in known else np.isnan(value)


def test_units_and_frames_without(tmp_path: Path) -> None:
    frames = bonds()
    del frames[1].info["J"]
    write(tmp_path / "a.xyz", frames)
    dataset = loaded(tmp_path / "a.xyz", allow_missing=["J"])
    assert [bool(graph.J.isnan().all()) for graph in dataset] == [False, True, False]
    raw = {"kind": "xyz", "path": str(tmp_path / "a.xyz"), "split": {"val": 0, "test": 0}, "allow_missing": ["energy"]}
    raw |= {"keys": {"energy": "J"}, "edges": {"energy": {"index": "ij"}}, "units": {"energy": "meV"}}
    energy = load(parse_data(raw), R_MAX, {"energy": SCALAR}).train
    np.testing.assert_allclose(energy[0].energy, 1e-3 * dataset[0].J)


WATER: dict[str, Any] = {"ij": [[0, 1], [0, 2]], "J": [1.0, 2.0]}
NO_SHIFT = {"index": "ij"}
WRONG: list[tuple[dict[str, Any], Label, dict[str, Any], str]] = [
    ({"ij": [[0, 1], [0, 3]]}, SCALAR, NO_SHIFT, "the pair (0, 3) of J refers to an atom that does not exist\n"
     "  the frame has atoms 0 to 2"),
    ({"ij": [[0, 1], [-1, 2]]}, SCALAR, NO_SHIFT, "the pair (-1, 2) of J refers to an atom that does not exist\n"
     "  the frame has atoms 0 to 2"),
    ({"ij": [[0, 1], [2, 2]]}, SCALAR, NO_SHIFT, "the pair (2, 2) of J joins an atom with itself\n"
     "  use a label per node for values of single atoms"),
    ({"ij": [[0, 1], [0, 1]]}, SCALAR, NO_SHIFT, "the pair (0, 1) of J has two values: 1.0 and 2.0"),
    ({"ij": [[0, 1], [1, 0]]}, SCALAR, {"index": "ij", "reverse": "same"},
     "the pair (1, 0) of J has two values: 2.0 and 1.0\n"
     "  remove data.edges.J.reverse=same if the file has rows for both directions"),
    ({"ij": [[0.0, 1], [0, 2.5]]}, SCALAR, NO_SHIFT, "ij must contain integers, got float64"),
    ({"ij": [[0, 0, 1], [1, 2, 2]], "J": [1.0, 2.0, 3.0]}, SCALAR, NO_SHIFT,
     "ij has shape (2, 3), but must have (pairs, 2)\n  transpose it"),
    ({"ij": [0, 1, 2]}, SCALAR, NO_SHIFT, "ij has shape (3,), but must have (pairs, 2)"),
    ({"J": [1.0, 2.0, 3.0]}, SCALAR, NO_SHIFT,
     "J has shape (3,), but 2 pairs of the label J need (2,)"),
    ({}, VECTOR, NO_SHIFT, "J has shape (2,), but 2 pairs of the label J need (2, 3)"),
    ({"J": [1.0, np.nan]}, SCALAR, NO_SHIFT, "J of the pair (0, 2) is not finite: nan"),
    ({}, SCALAR, {"index": "pairs"}, "no key 'pairs' for data.edges.J.index\n  existing keys: J, ij"),
    ({"ijs": 1}, SCALAR, {"index": "ijd"},
     "no key 'ijd' for data.edges.J.index\n  existing keys: J, ij, ijs; did you mean data.edges.J.index=ij?"),
    ({}, SCALAR, {"index": "ij", "shift": "S"}, "no key 'S' for data.edges.J.shift\n  existing keys: J, ij"),
    ({"S": [[0, 0, 0]]}, SCALAR, {"index": "ij", "shift": "S"}, "S has 1 rows, but ij has 2"),
    ({"S": [[0, 0, 0], [0, 0, 1]]}, SCALAR, {"index": "ij", "shift": "S"},
     "the pair (0, 2) with the image [0, 0, 1] of J has an image along a direction that is not periodic"),
    ({"J": None}, SCALAR, NO_SHIFT, "no key 'J' for the label J\n"
     "  existing keys: ij; did you mean data.keys.J=ij?"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "label", "edges", "message"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_mistakes(changes: dict[str, Any], label: Label, edges: dict[str, Any], message: str, tmp_path: Path) -> None:
    """All but the last of the frames are right."""
    frames = [molecule("H2O"), molecule("H2O")]
    frames[0].info = {key: np.array(value) for key, value in WATER.items()} | {"pairs": np.array(WATER["ij"])}
    frames[0].info |= {"ijd": frames[0].info["ij"], "S": np.zeros((2, 3), int)}
    if label == VECTOR:
        frames[0].info["J"] = np.zeros((2, 3))
    frames[1].info = {k: np.array(v) for k, v in (WATER | changes).items() if v is not None}
    with connect(tmp_path / "a.db") as database:
        for atoms in frames:
            database.write(Atoms(atoms.symbols, atoms.positions), data=atoms.info)
    with pytest.raises(DataError) as caught:
        loaded(tmp_path / "a.db", label, "ase_db", edges=edges)
    assert str(caught.value) == f"{tmp_path / 'a.db'}, frame 1\n  {message}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"a b"', "J is not a number: 'a b'"),
        ("1e200", "J of the pair (0, 1) is 1e+200: too large for a label"),
        ("nan", "J of the pair (0, 1) is not finite: nan"),
    ],
)
def test_not_a_measurement(value: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f'2\nProperties=species:S:1:pos:R:3 ij="0 1" J={value}\nO 0 0 0\nH 0.9 0 0\n')
    with pytest.raises(DataError) as caught:
        loaded(path)
    assert str(caught.value) == f"{path}, frame 0\n  {message}"


def test_a_periodic_frame_needs_images(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.info = {"ij": np.array([[0, 1]]), "J": np.array([1.0])}
    write(tmp_path / "a.xyz", atoms)
    with pytest.raises(DataError) as caught:
        loaded(tmp_path / "a.xyz")
    assert str(caught.value) == (
        f"{tmp_path / 'a.xyz'}, frame 0\n  the frame is periodic, so the pairs of J need their periodic images\n"
        "  set data.edges.J.shift to the key of the periodic images"
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"edges": {"K": {"index": "ij"}}}, "edges\n  data.keys has no label K\n  keys: J"),
        ({"edges": {"J": {}}},
         "edges.J.index\n  this key is required: Key of (pairs, 2) integers: atoms a, b of each row of the label."),
        ({"edges": {"J": {"index": "ij", "reverse": "odd"}}},
         "edges.J.reverse\n  must be one of same, negative, transposed; got odd"),
        ({"edges": {"J": {"index": "ij", "shfit": "S"}}}, "edges.J.shfit\n  unknown key\n  did you mean shift?"),
    ],
)  # fmt: skip
def test_specs_that_are_wrong(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        validate(XyzSpec, {"path": "a.xyz", "keys": {"J": "J"}} | raw)
    assert str(caught.value.errors[0]) == message


@pytest.mark.parametrize(
    ("edges", "label", "message"),
    [
        ({}, SCALAR, "the label 'J' is needed per edge, but the data do not define its pairs of atoms\n"
         "  set data.edges.J={index: KEY} to the key of the pairs"),
        ({"J": {"index": "ij"}}, Label("node"), "the label 'J' is per edge in the data, but per node in the model"),
        ({"J": {"index": "ij", "reverse": "transposed"}}, VECTOR,
         "transposed needs a matrix, but the label 'J' is (3,) per edge\n"
         "  set data.edges.J.reverse to same or negative"),
    ],
)  # fmt: skip
def test_labels_that_are_asked_for_otherwise(edges: dict, label: Label, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(parse_data({"kind": "xyz", "path": "a.xyz", "keys": {"J": "J"}, "edges": edges}), 3.0, {"J": label})
    assert str(caught.value) == "\n".join(f"  {line.strip()}" for line in message.splitlines())


def test_a_frame_without_pairs(tmp_path: Path) -> None:
    """All of its edges are without a label, and it is no mistake."""
    frames = [crystal(k) for k in range(2)]
    index, image, vectors = pairs_of(frames[0], R_MAX)
    frames[0].info = {"ij": index, "S": image, "J": vectors[:, 0]}
    frames[1].info = {"ij": np.full((1, 2), -1), "S": np.zeros((1, 3), int), "J": np.zeros(1)}
    write(tmp_path / "a.xyz", frames)
    for storage in ("memory", "disk"):
        dataset = loaded(tmp_path / "a.xyz", edges={"index": "ij", "shift": "S"}, storage=storage)
        assert not dataset[0].J.isnan().any()
        assert dataset[1].J.isnan().all()
        assert Held.of(dataset, "J", "edge").frames.tolist() == [True, False]
