"""The database of a study: opened with retries; each error is one message."""

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
"""Missed heartbeats after which a trial counts as dead."""
LOCKED = 20.0
"""Seconds to wait for a locked SQLite file."""
_SILENT = 1.0
"""Seconds of waiting before a message."""
_ATTEMPTS = 6
"""Attempts to create the tables, half a second apart."""
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
"""Default driver of each URL scheme."""
_PACKAGES = {
    "psycopg": "'e3frame[postgresql]'",
    "psycopg2": "psycopg2-binary",
    "pymysql": "pymysql",
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}
"""Packages of the drivers."""


def open_storage(url: str, heartbeat: int, died: Callable[[optuna.Study, FrozenTrial], None]) -> RDBStorage:
    """Optuna's storage at a URL.

    Raises:
        UserError: the URL is not valid, its driver is not installed, or the file is locked.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import DBAPIError

    url = with_driver(url)
    sqlite = url.startswith("sqlite:")
    if sqlite:
        _wait_for(Path(url.partition("///")[2].partition("?")[0]))
    for left in reversed(
        range(_ATTEMPTS)
    ):  # of several processes that start at once, only the first can create the tables
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
    """The URL with its default driver, if it names none.

    >>> with_driver("postgresql://me@host/studies"), with_driver("postgresql+psycopg2://host/studies")
    ('postgresql+psycopg://me@host/studies', 'postgresql+psycopg2://host/studies')

    Raises:
        UserError: it is not the URL of a database of a known kind.
    """
    scheme, found, rest = url.partition("://")
    known = ["sqlite", "postgresql", "mysql"]
    if not found:
        raise UserError(f"sweep.storage must be the URL of a database, got {url}\n  such as postgresql://host/db")
    if scheme.partition("+")[0] not in (*known, "postgres"):
        raise UserError(f"sweep.storage: unknown kind of database: {scheme}\n  {did_you_mean(scheme, known, 'kinds')}")
    return f"{_DRIVERS.get(scheme, scheme)}://{rest}"


def _missing(url: str, error: ImportError) -> UserError:
    scheme, module = url.partition("://")[0], (error.name or "").partition(".")[0]
    module = module or scheme.partition("+")[2]
    package = _PACKAGES.get(module, module)
    wrong = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported: {error}"
    return UserError(
        f"sweep.storage: {scheme.partition('+')[0]}:// needs the package {module}, which {wrong.splitlines()[0]}\n"
        f"  pip install {package}"
    )


def _passes(error: Exception) -> bool:
    """Whether the error may come from another process that is creating the tables."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    return isinstance(error, IntegrityError | ProgrammingError) or "exists" in str(error)


def _wait_for(file: Path) -> None:
    """Wait until a SQLite file can be written, with a message after a second.

    Raises:
        UserError: it stays locked.
    """
    began, printed = time.monotonic(), False
    while file.is_file():
        try:
            with closing(sqlite3.connect(file, timeout=_SILENT)) as connection:
                connection.execute("BEGIN IMMEDIATE").connection.rollback()
            return
        except sqlite3.DatabaseError as error:
            if "locked" not in str(error):
                return  # Optuna raises it again
        if time.monotonic() - began > LOCKED:
            raise UserError(_locked(file))
        if not printed:
            print(f"{file} is locked by another process; waiting for {LOCKED:.0f} s", file=sys.stderr, flush=True)
            printed = True


def _locked(what: Path | str) -> str:
    return (
        f"{what} has been locked by another process for {LOCKED:.0f} s\n"
        "  end that process, or set sweep.storage to a database that several processes can use, such as postgresql://host/db"
    )


@contextmanager
def storage_errors(storage: str | None) -> Iterator[None]:
    """Turn errors of the storage into one message."""
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
