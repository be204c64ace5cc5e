"""Files of torch.save: tensors come out as torch would give them; every other file is one message."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from e3frame.convert.archive import opened_archive
from e3frame.convert.records import Record, Stored, tensors
from e3frame.spec.errors import FileError


def saved(found: Any, path: Path) -> Path:
    torch.save(found, path)
    return path


def read(path: Path) -> dict[str, Tensor]:
    with opened_archive(path) as archive:
        return {name: archive.tensor(each) for name, each in tensors(archive.found.root)}


def message(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        read(path)
    first, _, rest = str(caught.value).partition("\n  ")
    assert first == str(path)
    return rest


def rewritten(path: Path, **changes: bytes | None) -> Path:
    """The archive with some entries replaced, or left out if None, written as torch does."""
    with zipfile.ZipFile(path) as old:
        entries = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
    entries = {**entries, **changes}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in entries.items():
            if content is not None:
                new.writestr(f"archive/{name}", content)
    return path


BASE = torch.arange(60, dtype=torch.float64).reshape(3, 4, 5) / 7
TENSORS: dict[str, Tensor] = {
    **{str(dtype): (torch.arange(-3, 9) % 5).to(dtype) for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16),
        *(torch.int8, torch.uint8, torch.bool),
    )},
    "whole": BASE,
    "transposed": BASE.transpose(0, 2),
    "part": BASE[1:, ::2, 3],
    "number": BASE[2, 3, 4],
    "empty": torch.empty(0, 3),
    "empty number": torch.empty(0),
}  # fmt: skip


def test_tensors_are_those_of_torch(tmp_path: Path) -> None:
    """Of all types, views of one storage included."""
    with opened_archive(saved(TENSORS, tmp_path / "a.pt")) as archive:
        assert archive.found.root.keys() == TENSORS.keys()
        for name, stored in archive.found.root.items():
            tensor = archive.tensor(stored)
            assert tensor.dtype == TENSORS[name].dtype, name
            assert torch.equal(tensor, TENSORS[name]), name


def test_modules_have_the_tensors_of_their_state(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Linear(4, 2, bias=False)))
    model.add_module("again", model[0])
    with opened_archive(saved(model, tmp_path / "a.pt")) as archive:
        root = archive.found.root
        assert isinstance(root, Record)
        assert root.name == "torch.nn.modules.container.Sequential"
        found = {name: archive.tensor(stored) for name, stored in tensors(root)}
        assert "torch.nn.modules.linear.Linear" in archive.found.names
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("again")}
    assert list(found) == list(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_a_tensor_is_a_copy(tmp_path: Path) -> None:
    with opened_archive(saved([BASE, BASE[1]], tmp_path / "a.pt")) as archive:
        whole, part = map(archive.tensor, archive.found.root)
        whole.zero_()
        assert torch.equal(part, BASE[1])


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "problem"),
    [
        (0, (61,), (1,), "a tensor of shape [61] does not fit into its 60 numbers"),
        (1, (60,), (1,), "a tensor of shape [60] does not fit into its 60 numbers"),
        (0, (2, 2), (1, 59), "a tensor of shape [2, 2] does not fit into its 60 numbers"),
        (0, (1000, 1000), (0, 0), "a tensor of shape [1000, 1000] does not fit into its 60 numbers"),
        (0, (2**61, 2), (0, 0), f"a tensor of shape [{2**61}, 2] does not fit into its 60 numbers"),
        (-1, (1,), (1,), "a tensor of shape [1] cannot exist"),
        (0, (-1,), (1,), "a tensor of shape [-1] cannot exist"),
        (5, (2,), (-1,), "a tensor of shape [2] cannot exist"),
        (0, (True,), (1,), "a tensor of shape [True] cannot exist"),
        (0, (2.0,), (1,), "a tensor of shape [2.0] cannot exist"),
        (0, (1,) * 17, (1,) * 17, "a tensor of shape [1, 1, 1, 1] cannot exist"),
        (0, (1,), (1, 1), "a tensor has not as many strides as dimensions"),
        (0, (2**70,), (1,), f"a tensor of shape [{2**70}] cannot exist"),
    ],
)
def test_views_stay_within_their_storage(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...], problem: str, tmp_path: Path
) -> None:
    class Lies:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (BASE.untyped_storage(), offset, shape, strides, False, {})

    class Typed(pickle.Pickler):
        def persistent_id(self, found: Any) -> Any:
            if isinstance(found, torch.UntypedStorage):
                return "storage", torch.DoubleStorage, "0", "cpu", 60
            return None

    buffer = io.BytesIO()
    Typed(buffer, 2).dump(Lies())
    path = rewritten(saved(BASE, tmp_path / "a.pt"), **{"data.pkl": buffer.getvalue()})
    assert message(path) == f"not converted: {problem}"


class Boom:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_nothing_in_an_archive_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened_archive(saved({"model": Boom()}, tmp_path / "a.pt")) as archive:
        assert archive.found.root["model"].name == "posix.system"
        assert archive.found.names == ("posix.system",)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99, 0.999])
def test_a_file_that_is_cut_off(share: float, tmp_path: Path) -> None:
    path = saved(TENSORS, tmp_path / "a.pt")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    ends = ("not converted: it is a zip archive that is damaged or cut off",)
    nothing = "not converted: it is not a file of torch.save\n  e3frame convert --list shows what is read"
    assert message(path) in (ends if share else (nothing,))


def _legacy(path: Path) -> None:
    torch.save([BASE], path, _use_new_zipfile_serialization=False)


def _compiled(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def _package(path: Path) -> None:
    from torch.package import PackageExporter

    with PackageExporter(str(path)) as package:
        package.save_pickle("model", "model.pkl", {"a": 1})


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")


def _compressed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1_000_000))


def _overlapping(path: Path) -> None:
    """Entries that share their bytes: a thousand times what the file holds."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("a/data/0", bytes(10_000))
        one = archive.filelist[-1]
        for number in range(1, 1000):
            other = zipfile.ZipInfo(f"a/data/{number}")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(other, name, getattr(one, name))
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other


def _twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.NameToInfo.clear()  # else it warns
        archive.writestr("a/data.pkl", b"K\x01.")


def _two_pickles(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("b/data.pkl", b"N.")


def _big_endian(path: Path) -> None:
    rewritten(saved(BASE, path), byteorder=b"big")


def _lost(path: Path) -> None:
    rewritten(saved(BASE, path), **{"data/0": None})


def _short(path: Path) -> None:
    rewritten(saved(BASE, path), **{"data/0": bytes(100)})


def _flipped(path: Path) -> None:
    saved(nn.Linear(40, 40).double(), path)
    content = bytearray(path.read_bytes())
    content[content.index(b"data/0") + 2000] ^= 1
    path.write_bytes(content)


def _damaged(path: Path) -> None:
    rewritten(saved(BASE, path), **{"data.pkl": b"\x80\x02}"})


def _complex(path: Path) -> None:
    saved(BASE.to(torch.complex64), path)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
        (_fifo, "is a named pipe, not a file"),
        (lambda path: path.write_text("hello, this is a text"), "it is not a file of torch.save\n  {list}"),
        (
            lambda path: save_file({"x": BASE}, path),
            "it is a safetensors file\n  a model of e3frame needs no conversion",
        ),
        (
            _legacy,
            "it is in the format of torch before 1.6\n"
            "  load it with torch and save it again: torch.save(torch.load(FILE), NEW)",
        ),
        (_compiled, "it is compiled (TorchScript)\n  convert the file from which it was compiled"),
        (_package, "it is a package of code (torch.package)\n  convert the checkpoint of the training"),
        (_other_zip, "it is a zip archive, but not one of torch.save"),
        (_two_pickles, "it is a zip archive, but not one of torch.save"),
        (_compressed, "its entries are compressed or encrypted, which torch.save does not do"),
        (_twice, "two of its entries have the same name"),
        (_overlapping, "its entries claim more bytes than the {size:,} of the file"),
        (_big_endian, "it was written on a machine of another byte order"),
        (_lost, "the numbers in data/0 are missing or cut off"),
        (_short, "the numbers in data/0 are missing or cut off"),
        (_flipped, "the numbers in data/0 are damaged"),
        (_damaged, "its pickle is damaged near byte 2"),
        (_complex, "it holds numbers of a type that is not read: torch.ComplexFloatStorage"),
    ],
)  # fmt: skip
def test_other_files(make: Callable[[Path], Any], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    make(path)
    size = path.stat().st_size if path.exists() else 0
    expected = problem.format(path=path, size=size, list="e3frame convert --list shows what is read")
    opens = expected.startswith(("no such", "is a "))
    assert message(path) == ("" if opens else "not converted: ") + expected


def test_no_storage_is_read_before_it_is_needed(tmp_path: Path) -> None:
    path = saved(nn.Linear(40, 40).double(), tmp_path / "a.pt")
    content = bytearray(path.read_bytes())
    content[content.index(b"data/0") + 2000] ^= 1
    path.write_bytes(content)
    with opened_archive(path) as archive:
        weight, bias = (each for _, each in tensors(archive.found.root))
        assert isinstance(weight, Stored)
        assert archive.tensor(bias).shape == (40,)
