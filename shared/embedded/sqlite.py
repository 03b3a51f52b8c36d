"""One SQLite file, shared by threads and processes, that survives kill -9."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from shared.domain.errors import Transient

# How long a transaction waits for another process before it is refused as Transient.
BUSY_TIMEOUT_S = 10.0

# Primary result codes that speak of the moment (another process writes, the disk is full), not of our SQL.
_PASSING_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


class Database:
    """A connection behind a lock, one for all threads: SQLite has one writer anyway, and one connection is closed for
    certain. `lock` is reentrant and public, for conditions on it. WAL with synchronous=NORMAL: what is committed
    survives the process; a power cut may lose the last commits. Its file locks are in process memory: a child is
    spawned, not forked."""

    def __init__(self, path: str | Path, steps: Sequence[Sequence[str]]) -> None:
        """Create or open the file. `steps[n]`: statements from schema version n to n + 1; a released step is never
        edited. They only add indexes, tables and columns that may be null: older versions of the program use a newer
        file as it is."""
        self.path = Path(path)
        self.lock = threading.RLock()
        self.closed = False
        self._steps = steps
        self._connection: sqlite3.Connection | None = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.read():
            pass  # what cannot be opened is refused here

    def read(self) -> "_Reading":
        """The connection, for single statements whose rows are fetched at once."""
        return _Reading(self)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction, committed or rolled back. It locks at its start: later it could be refused without a wait."""
        with self.read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Release the file; whatever comes later is an error. Closing twice is fine."""
        with self.lock:
            self.closed = True
            if self._connection is not None:
                self._connection.close()

    def _connected(self) -> sqlite3.Connection:
        if self.closed:
            raise RuntimeError(f"{self.path.name} is closed")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            _enter_wal_mode(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _version(connection) >= len(self._steps):
            return
        # Two processes may get here together: look again once we are the only writer.
        connection.execute("BEGIN IMMEDIATE")
        for statements in self._steps[_version(connection) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(len(self._steps), _version(connection))}")
        connection.execute("COMMIT")


class _Reading:
    """`Database.read`. A generator would take three times as long, and this is asked for hundreds of times a second."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        self._database.lock.acquire()
        try:
            return self._database._connected()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.lock.release()
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in _PASSING_CODES:
            raise Transient("database_unavailable", f"{self._database.path.name}: {error}") from error


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _enter_wal_mode(connection: sqlite3.Connection) -> None:
    # The change of mode does not honor the busy timeout when two processes create the file together.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
