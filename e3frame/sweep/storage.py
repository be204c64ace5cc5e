"""Where a study is kept: a database, opened with patience, and what is wrong with one in one message."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e3frame.spec.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

GRACE = 3
"""Heartbeats that may fail to come before a trial counts as dead."""
LOCKED = 20.0
"""Seconds to wait for a SQLite file that another process has locked."""
_TOLD = 1.0
"""Seconds of such a wait before it is told."""
_ATTEMPTS = 6
"""To make the tables, half a second apart."""
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
"""What a plain URL stands for."""
_PACKAGES = {
    "psycopg": "'e3frame[postgresql]'",
    "psycopg2": "psycopg2-binary",
    "pymysql": "pymysql",
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}
"""How to install the drivers."""


def open_storage(url: str, heartbeat: int, died: Callable[[optuna.Study, FrozenTrial], None]) -> RDBStorage:
    """Optuna's storage at a URL.

    Raises:
        UserError: it is no URL, its driver is not installed, or the file is locked.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import DBAPIError

    url = with_driver(url)
    sqlite = url.startswith("sqlite:")
    if sqlite:
        _wait_for(Path(url.partition("///")[2].partition("?")[0]))
    for left in reversed(range(_ATTEMPTS)):  # of many that begin at once, only the first one can make the tables
        try:
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": LOCKED}} if sqlite else {"pool_pre_ping": True},
                heartbeat_interval=heartbeat,
                grace_period=GRACE * heartbeat,
                heartbeat_stale_trial_callback=died,
            )
        except ImportError as error:
            cause = error.__cause__  # Optuna has a sentence of its own
            raise _missing(url, cause if isinstance(cause, ImportError) else error) from None
        except DBAPIError as error:
            if not left or not _passes(error):
                raise
            time.sleep(0.5)
    raise AssertionError("not reached")


def with_driver(url: str) -> str:
    """The URL with the driver that e3frame offers.

    >>> with_driver("postgresql://me@host/studies"), with_driver("postgresql+psycopg2://host/studies")
    ('postgresql+psycopg://me@host/studies', 'postgresql+psycopg2://host/studies')

    Raises:
        UserError: it is no URL of a database that can hold a study.
    """
    scheme, found, rest = url.partition("://")
    known = ["sqlite", "postgresql", "mysql"]
    if not found:
        raise UserError(f"sweep.storage must be the URL of a database, got {url}\n  such as postgresql://host/db")
    if scheme.partition("+")[0] not in (*known, "postgres"):
        raise UserError(
            f"sweep.storage cannot be a database of kind {scheme}\n  {did_you_mean(scheme, known, 'kinds')}"
        )
    return f"{_DRIVERS.get(scheme, scheme)}://{rest}"


def _missing(url: str, error: ImportError) -> UserError:
    scheme, module = url.partition("://")[0], (error.name or "").partition(".")[0]
    module = module or scheme.partition("+")[2]
    package = _PACKAGES.get(module, module)
    wrong = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not work here: {error}"
    return UserError(
        f"sweep.storage: {scheme.partition('+')[0]}:// needs the package {module}, which {wrong.splitlines()[0]}\n"
        f"  pip install {package}"
    )


def _passes(error: Exception) -> bool:
    """Whether what is wrong may be another process that makes the tables at this moment."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    return isinstance(error, IntegrityError | ProgrammingError) or "exists" in str(error)


def _wait_for(file: Path) -> None:
    """Wait until a SQLite file can be written, and say so.

    Raises:
        UserError: it stays locked.
    """
    began, told = time.monotonic(), False
    while file.is_file():
        try:
            with closing(sqlite3.connect(file, timeout=_TOLD)) as connection:
                connection.execute("BEGIN IMMEDIATE").connection.rollback()
            return
        except sqlite3.DatabaseError as error:
            if "locked" not in str(error):
                return  # Optuna will say it
        if time.monotonic() - began > LOCKED:
            raise UserError(_locked(file))
        if not told:
            print(f"{file} is locked by another process; waiting for {LOCKED:.0f} s", file=sys.stderr, flush=True)
            told = True


def _locked(what: Path | str) -> str:
    return (
        f"{what} has been locked by another process for {LOCKED:.0f} s\n"
        "  end that process, or set sweep.storage to a database that many can use, such as postgresql://host/db"
    )


@contextmanager
def storage_errors(storage: str | None) -> Iterator[None]:
    """A storage that does not answer, in one message."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OptunaError) as error:
        cause: Any = error.__cause__ if isinstance(error, OptunaError) and error.__cause__ else error
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        what = "sweep.storage" if storage else "the study's file"
        if reason == "database is locked":
            raise UserError(_locked(what)) from None
        raise UserError(f"{what} cannot be used\n  {reason}") from None
