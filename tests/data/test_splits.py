"""Splits by group and by index, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label
from e3frame.data.sources.npz import NpzSpec
from e3frame.data.sources.splitting import SplitSpec
from e3frame.data.sources.xyz import XyzSpec
from e3frame.spec.errors import DataError, SpecError
from e3frame.spec.validate import SpecErrors, validate

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}


def test_groups_stay_together() -> None:
    groups = np.repeat(np.arange(40), np.random.default_rng(0).integers(1, 20, 40))
    spec = SplitSpec(method="group", key="molecule", train=0.8, val=0.1, test=0.1)
    parts = spec.divide(len(groups), groups=groups)
    members = {name: set(groups[part].tolist()) for name, part in parts.items()}
    assert not members["train"] & members["val"] | members["train"] & members["test"] | members["val"] & members["test"]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(groups)))
    assert abs(len(parts["train"]) / len(groups) - 0.8) < 0.05
    again = spec.divide(len(groups), groups=groups)
    assert all((parts[name] == again[name]).all() for name in parts)
    with pytest.raises(DataError, match="2 groups cannot make 3 splits"):
        spec.divide(10, groups=np.arange(10) % 2)


def test_at_random_a_smaller_training_set_is_part_of_a_larger_one() -> None:
    """And both have the validation and test frames of the other, as a learning curve needs."""
    small, large, whole = (SplitSpec(method="random", train=n, val=7, test=9).divide(50) for n in (5, 30, "rest"))
    assert set(small["train"]) < set(large["train"]) < set(whole["train"])
    for name in ("val", "test"):
        assert small[name].tolist() == large[name].tolist() == whole[name].tolist()
    assert sorted(np.concatenate(list(whole.values())).tolist()) == list(range(50))


def test_groups_of_a_file(tmp_path: Path, frames: Callable[..., list[Atoms]]) -> None:
    made = frames(12)
    for k, atoms in enumerate(made):
        atoms.info["molecule"] = f"conformer {k // 3}"
    path = tmp_path / "a.xyz"
    write(path, made, format="extxyz")
    split = {"method": "group", "key": "molecule", "val": 0.25, "test": 0.25}
    splits = load(XyzSpec.model_validate({"path": str(path), "split": split}), 4.0, LABELS)
    found = [{int(f) // 3 for f in dataset.stacked("frame")} for _, dataset in splits.items()]
    assert sum(map(len, found)) == 4
    wrong = XyzSpec.model_validate({"path": str(path), "split": {**split, "key": "molecul"}})
    with pytest.raises(DataError) as caught:
        load(wrong, 4.0, LABELS)
    assert str(caught.value) == (
        f"{path}, frame 0\n  no key 'molecul' to split by\n"
        "  existing keys: energy, forces, molecule; did you mean data.split.key=molecule?"
    )


def test_groups_of_arrays(tmp_path: Path, frames: Callable[..., list[Atoms]]) -> None:
    made, path = frames(12), tmp_path / "a.npz"
    arrays = {"R": np.stack([atoms.positions for atoms in made]), "z": made[0].numbers, "E": np.arange(12.0)}
    np.savez(path, **arrays, conformer=np.array([f"conformer {k // 3}" for k in range(12)]), number=np.arange(12) // 3)
    for key in ("conformer", "number"):
        split = {"method": "group", "key": key, "val": 0.25, "test": 0.25}
        spec = NpzSpec.model_validate({"path": str(path), "split": split, "cache_dir": str(tmp_path)})
        splits = load(spec, 4.0, {"energy": Label("graph")})
        found = [{int(f) // 3 for f in dataset.stacked("frame")} for _, dataset in splits.items()]
        assert sum(map(len, found)) == 4
    wrong = spec.replace(split=spec.split.replace(key="conformr"))
    with pytest.raises(DataError) as caught:
        load(wrong, 4.0, {"energy": Label("graph")})
    assert str(caught.value) == (
        f"{path}\n  no array 'conformr' to split by\n"
        "  existing arrays: R, z, E, conformer, number; did you mean data.split.key=conformer?"
    )


def test_index_files(tmp_path: Path) -> None:
    lists = {name: str(tmp_path / f"{name}.csv") for name in ("train", "test")}
    np.savetxt(lists["train"], np.arange(0, 40, 2), fmt="%d")
    Path(lists["test"]).write_text("1, 3, 5\n7 9\n")
    spec = SplitSpec(method="index", train_index=lists["train"], test_index=lists["test"], train=15, val=5)
    parts = spec.divide(50)
    assert sorted([*parts["train"], *parts["val"]]) == list(range(0, 40, 2))
    assert parts["test"].tolist() == [1, 3, 5, 7, 9]
    rest = SplitSpec(method="index", train_index=lists["train"], test="rest").divide(50)
    assert len(rest["test"]) == 30
    assert len(rest["val"]) == 2
    np.save(tmp_path / "v.npy", [41, 42])
    given = SplitSpec(method="index", train_index=lists["train"], val_index=str(tmp_path / "v.npy")).divide(50)
    assert given["val"].tolist() == [41, 42]
    assert len(given["train"]) == 20
    assert len(given["test"]) == 0


INDEX_MISTAKES = {
    "0 1 50": "frame 50 is listed, but the last frame is 49",
    "0 1 -1": "frame -1 is listed, but the last frame is 49",
    "0 1 1": "frame 1 is listed twice",
    "": "the list is empty",
}


@pytest.mark.parametrize("text", INDEX_MISTAKES)
def test_index_mistakes(text: str, tmp_path: Path) -> None:
    path = tmp_path / "i.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        SplitSpec(method="index", train_index=str(path)).divide(50)
    assert str(caught.value) == f"{path}\n  {INDEX_MISTAKES[text]}"


def test_index_files_that_cannot_be_used(tmp_path: Path) -> None:
    one, other = tmp_path / "a.txt", tmp_path / "b.txt"
    one.write_text("0 1 2")
    other.write_text("2 3")
    with pytest.raises(DataError) as caught:
        SplitSpec(method="index", train_index=str(one), test_index=str(other)).divide(50)
    assert str(caught.value) == f"{other}\n  frame 2 is also listed in {one}"
    with pytest.raises(DataError) as caught:
        SplitSpec(method="index", train_index=str(tmp_path / "c.txt")).divide(50)
    assert str(caught.value) == f"{tmp_path / 'c.txt'}\n  cannot be opened: No such file or directory"
    other.write_text("one two")
    with pytest.raises(DataError, match="frame numbers are required"):
        SplitSpec(method="index", train_index=str(other)).divide(50)


def in_npy(content: object) -> Callable[[Path], None]:
    return lambda path: np.save(path, content)


def cut(path: Path) -> None:
    np.save(path, [1, 2])
    path.write_bytes(path.read_bytes()[:-3])


ARRAY_MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "floats": (in_npy([1.5, 2.0]), "frame numbers are required: the array has type float64"),
    "a mask": (in_npy([True, False]), "frame numbers are required: the array has type bool"),
    "words": (in_npy(["a", "bc"]), "frame numbers are required: the array has type <U2"),
    "nothing": (in_npy([]), "the list is empty"),
    "an empty file": (
        lambda path: path.write_bytes(b""),
        "frame numbers are required: EOF: reading magic string, expected 8 bytes got 0",
    ),
    "a cut file": (cut, "frame numbers are required: …"),
    "text": (lambda path: path.write_text("1 2 3 4 5"), "frame numbers are required: …"),
    "several arrays": (
        lambda path: np.savez(path.with_suffix(".npz"), a=[1]) or path.with_suffix(".npz").rename(path),
        "frame numbers are required: …",
    ),
}


@pytest.mark.parametrize("case", ARRAY_MISTAKES)
def test_arrays_that_are_no_index(case: str, tmp_path: Path) -> None:
    path, (made, message) = tmp_path / "i.npy", ARRAY_MISTAKES[case]
    made(path)
    with pytest.raises(DataError) as caught:
        SplitSpec(method="index", train_index=str(path)).divide(50)
    said, whole = str(caught.value), f"{path}\n  {message}"
    assert said.startswith(whole[:-1]) if whole.endswith("…") else said == whole


def test_a_number_that_is_far_too_large(tmp_path: Path) -> None:
    path = tmp_path / "i.txt"
    path.write_text("1 99999999999999999999")
    with pytest.raises(DataError, match=r"frame numbers are required: .*too large") as caught:
        SplitSpec(method="index", train_index=str(path)).divide(50)
    assert str(caught.value).startswith(f"{path}\n")


SPEC_MISTAKES = [
    ({"key": "a"}, "key\n  key needs method: group, got method: time\n  set method: group, or remove key"),
    ({"method": "group"}, "method group needs a key to group by\n  for example key: molecule"),
    ({"method": "index"}, "method index needs train_index: a file with the numbers of the training frames"),
    (
        {"method": "index", "train_index": "a", "val_index": "b", "val": 3},
        "val_index and val exclude each other\n  remove one of them",
    ),
]


@pytest.mark.parametrize(("raw", "message"), SPEC_MISTAKES)
def test_what_the_methods_need(raw: dict, message: str) -> None:
    with pytest.raises((SpecErrors, SpecError)) as caught:
        validate(SplitSpec, raw)
    error = caught.value.errors[0] if isinstance(caught.value, SpecErrors) else caught.value
    assert str(error).strip() == message
