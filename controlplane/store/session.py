"""One way to reach the database: short synchronous sessions, one to read and one to write.

SQLite runs in WAL mode with foreign keys on. Its write sessions begin with the write lock (`BEGIN IMMEDIATE`),
because a transaction that reads first and then asks for the lock fails at once when another has written meanwhile,
whatever the busy timeout says.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

BUSY_TIMEOUT_S = 10.0
_BEGIN = "sqlite_begin"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Database:
    """A database by URL. `read()` never changes anything; `write()` commits when its block ends without an error."""

    engine: Engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        writer = self.engine.execution_options(**{_BEGIN: "IMMEDIATE"})
        with Session(writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        self.engine.dispose()


def once_more(work: Callable[[], Answer]) -> Answer:
    """Do it, and do it again when another writer took the same name between our look and our commit.

    Locks cannot cover a row that does not exist yet; the second time it does, and is found.
    """
    try:
        return work()
    except IntegrityError:
        return work()


def open_database(url: str) -> Database:
    """Connect lazily; a file that does not exist is made at first use, its tables by `migrate`."""
    if not url.startswith("sqlite"):
        return Database(create_engine(url, pool_pre_ping=True))
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Database(engine)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver then begins nothing by itself; `_begin_sqlite` does
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")
