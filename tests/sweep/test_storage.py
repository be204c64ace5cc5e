"""Databases that hold a study: which drivers they need, and what is said when they do not answer."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.searches import Setup

from e3frame.spec.errors import UserError
from e3frame.sweep import storage

EXTRA = "\n  pip install 'e3frame[postgresql]'"
MISSING = {
    "postgresql://me@host/db": (
        ["psycopg"],
        "sweep.storage: postgresql:// needs the package psycopg, which is not installed" + EXTRA,
    ),
    "postgres://me@host/db": (
        ["psycopg"],
        "sweep.storage: postgresql:// needs the package psycopg, which is not installed" + EXTRA,
    ),
    "postgresql+psycopg2://me@host/db": (
        ["psycopg2"],
        "sweep.storage: postgresql:// needs the package psycopg2, which is not installed\n"
        "  pip install psycopg2-binary",
    ),
    "mysql://me@host/db": (
        ["pymysql"],
        "sweep.storage: mysql:// needs the package pymysql, which is not installed\n  pip install pymysql",
    ),
    "mysql+mysqldb://me@host/db": (
        ["MySQLdb"],
        "sweep.storage: mysql:// needs the package MySQLdb, which is not installed\n  pip install mysqlclient",
    ),
}
WRONG = {
    "studies.db": "sweep.storage must be the URL of a database, got studies.db\n  such as postgresql://host/db",
    "postgress://host/db": "sweep.storage: unknown kind of database: postgress\n  did you mean postgresql?",
    "redis://host": "sweep.storage: unknown kind of database: redis\n  kinds: sqlite, postgresql, mysql",
}


@pytest.mark.parametrize("url", MISSING)
def test_a_missing_driver_is_named(
    url: str, setup: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch, recwarn: Any
) -> None:
    modules, message = MISSING[url]
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as caught:
        setup(storage=url).search()
    assert str(caught.value) == message


@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_database(url: str, setup: Callable[..., Setup]) -> None:
    with pytest.raises(UserError) as caught:
        setup(storage=url).search()
    assert str(caught.value) == WRONG[url]


@pytest.fixture
def lock(tmp_path: Path, setup: Callable[..., Setup]) -> Iterator[sqlite3.Connection]:
    """Another process that keeps the study's file to itself."""
    setup().search()
    connection = sqlite3.connect(tmp_path / "study.db", check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    yield connection
    connection.close()


def test_a_locked_study_is_told_at_once_and_waited_for_a_stated_time(
    lock: sqlite3.Connection,
    setup: Callable[..., Setup],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(storage, "LOCKED", 2.0)
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        setup().search()
    assert time.monotonic() - began < 10
    file = tmp_path / "study.db"
    assert capsys.readouterr().err == f"{file} is locked by another process; waiting for 2 s\n"
    assert str(caught.value) == (
        f"{file} has been locked by another process for 2 s\n"
        "  end that process, or set sweep.storage to a database that several processes can use, such as postgresql://host/db"
    )
    lock.rollback()
    assert setup().search().trials() == []
    assert capsys.readouterr().err == ""


def test_a_study_that_is_locked_later(
    setup: Callable[..., Setup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LOCKED", 0.2)
    search = setup().search()
    other = sqlite3.connect(tmp_path / "study.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=r"^the study's file has been locked by another process for 0 s\n"):
        setup().work(search)
    other.close()


@pytest.mark.parametrize("content", [b"not a database", b""], ids=["text", "empty"])
def test_a_file_that_is_no_database(content: bytes, setup: Callable[..., Setup], tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(content)
    if not content:  # SQLite takes it for a new one
        assert setup().search().trials() == []
        return
    with pytest.raises(UserError) as caught:
        setup().search()
    problem = "not the database of a search: file is not a database"
    assert str(caught.value) == f"{tmp_path / 'study.db'}\n  {problem}\n  choose another sweep.name"
