"""Files appear whole or not at all, and one file of the package alone writes them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import e3frame
from e3frame.files.parts import part_of
from e3frame.files.written import filled, replace_file, replaced, rewritten

PACKAGE = Path(e3frame.__file__).parent
WRITES = {
    "write_text",
    "write_bytes",
    "savefig",
    "save_file",
    "touch",
    "rename",
    "renames",
    "move",
    "copyfile",
    "mkstemp",
}
WRITERS = {
    "files/written.py": "writes",
    "viz/style.py": "draws figures into memory",
    "run/folder.py": "tries whether a folder can be written, and locks it",
    "kernels/native/build.py": "runs while the package is built, and imports nothing of it",
}


def _writes(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        constants = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
        texts = [value for value in constants if isinstance(value, str)]
        opens = name in ("open", "fdopen") and any(set(text) <= set("wax+bt") for text in texts if text)
        moves = name == "replace" and ast.unparse(node.func) == "os.replace"
        if name in WRITES or opens or moves or "NamedTemporaryFile" in name:
            yield f"{file.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)[:60]}"


def test_one_file_writes() -> None:
    found = {file.relative_to(PACKAGE).as_posix(): list(_writes(file)) for file in sorted(PACKAGE.rglob("*.py"))}
    assert not [line for file, lines in found.items() if file not in WRITERS for line in lines]
    assert all(found[file] for file in WRITERS)


def _by_content(path: Path) -> None:
    replace_file(path, b"new")


def _by_name(path: Path) -> None:
    with replaced(path) as part:
        part.write_text("new")


def _as_text(path: Path) -> None:
    with rewritten(path) as file:
        file.write("new")


WAYS = [_by_content, _by_name, _as_text]


@pytest.mark.parametrize("write", WAYS)
def test_a_file_is_replaced(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    for _ in range(2):
        write(path)
        assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", WAYS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_was_there_stays(
    write: Callable[[Path], None], error: BaseException, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(type(error)):
        write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file"
    with pytest.raises(FileNotFoundError) as caught, rewritten(path):
        pass
    assert caught.value.filename == str(path)


def test_a_folder_is_filled(tmp_path: Path) -> None:
    """Files that are there already stay, and so does everything if the block fails."""
    (tmp_path / "kept").write_text("mine")
    with filled(tmp_path, "download") as part:
        (part / "inner").mkdir()
        for name in ("inner/new", "kept"):
            (part / name).write_text("theirs")
    with pytest.raises(UnicodeEncodeError), filled(tmp_path, "download") as part:
        (part / "other").write_text("half \ud800", encoding="utf-8")
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"kept": "mine", "inner/new": "theirs"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inner", "kept"]


def test_a_folder_that_a_killed_process_left(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    name = part_of(tmp_path / "download").name
    left = tmp_path / name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    other = tmp_path / name
    for folder in (left, other):
        (folder / "raw").mkdir(parents=True)
    with filled(tmp_path, "download"):
        pass
    assert list(tmp_path.iterdir()) == [other]
