"""SQLite databases: a copy of one snapshot, its fingerprint, and who has a database open.

Nothing here decides what is restored or kept; that stands in the steps. Paths are those of the file
itself: resolve symbolic links first, as SQLite does, or its side files are looked for elsewhere.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from runbook.errors import StepError, Unfit
from runbook.tools.files import disk_errors, fsync_file, translated
from runbook.tools.host import holders_of
from runbook.tools.migrations import is_of_migrations

SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, by suffix."""

_PAGES_A_STEP = 4096
_ROWS_A_READ = 1000


class TableFingerprint(BaseModel):
    """A table's content."""

    rows: int
    """How many."""
    sha256: str
    """Over all of them, in an order that does not depend on indexes."""


class Fingerprint(BaseModel):
    """What a database holds, whatever its pages look like."""

    page_size: int
    """In bytes."""
    page_count: int
    """Pages of the file."""
    user_version: int
    """What `PRAGMA user_version` says: most often the newest migration."""
    application_id: int
    """What `PRAGMA application_id` says."""
    schema_sha256: str
    """Over all definitions."""
    tables: dict[str, TableFingerprint]
    """By table, its content."""

    def differences(self, other: "Fingerprint") -> list[str]:
        """In what the other one differs, in words; empty: in nothing."""
        found = [
            f"{name} is {getattr(other, name)} in place of {getattr(self, name)}"
            for name in ("page_size", "page_count", "user_version", "application_id")
            if getattr(self, name) != getattr(other, name)
        ]
        if self.schema_sha256 != other.schema_sha256:
            found.append("the schema differs")
        for table in sorted(self.tables.keys() | other.tables.keys()):
            mine, theirs = self.tables.get(table), other.tables.get(table)
            if mine != theirs:
                before = mine.rows if mine else "no"
                after = theirs.rows if theirs else "no"
                found.append(
                    f"table `{table}`: {after} rows in place of {before}, or other content"
                )
        return found


def back_up(
    source: Path, target: Path, *, timeout_s: float, check: Callable[[], None]
) -> Fingerprint:
    """Copy one snapshot of a live database to a new file, check it, fsync it.

    The fingerprint is read from the source in the very transaction that is copied, so that
    comparing the copy with it proves the copying too. `check` is called between pieces.

    Raises:
        Unfit: it is no database, or a damaged one.
        StepError: it stays locked, or there is no room.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with _errors(source, target), closing(_connect(source, "rw", timeout_s=timeout_s)) as live:
        live.execute("BEGIN")
        live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = OFF")
            copy.execute("PRAGMA journal_mode = OFF")
            live.backup(copy, pages=_PAGES_A_STEP, progress=lambda *_: check(), sleep=0.05)
        fingerprint = _fingerprint(live, check)
        live.execute("COMMIT")
    with disk_errors("writing the copy of the database", changed=False):
        fsync_file(target)
    problems = [*integrity_problems(target, check=check)]
    problems = problems or fingerprint.differences(fingerprint_of(target, check=check))
    if problems:
        raise Unfit(
            f"database `{source}` is damaged: {'; '.join(problems[:3])}",
            hint="restore it from an older restore point, or repair it, before you deploy",
        )
    return fingerprint


def is_there(path: Path) -> bool:
    """Whether there is a database of that path.

    Raises:
        Unfit: that cannot be told, or what is there is no file.
    """
    try:
        if path.exists() and not path.is_file():
            raise Unfit(f"expected a database, found something that is not a file: `{path}`")
        return path.exists()
    except OSError as error:
        raise Unfit(f"database `{path}` cannot be reached: {error.strerror}") from error


def require_readable(path: Path) -> None:
    """Read a live database's schema.

    Raises:
        Unfit: it is no database, or a damaged one.
        StepError: it stays locked.
    """
    with _errors(path, path), closing(_connect(path, "rw")) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def fingerprint_of(path: Path, *, check: Callable[[], None] = lambda: None) -> Fingerprint:
    """The fingerprint of a file that nobody has open; leaves nothing beside it.

    Raises:
        Unfit: it cannot be read as a database.
    """
    with _errors(path, path), closing(_connect(path, "immutable")) as connection:
        return _fingerprint(connection, check)


def query(path: Path, text: str, *, timeout_s: float, at_most: int) -> list[tuple[Any, ...]]:
    """The first rows that a query gives; it can change nothing.

    Raises StepError where the query is refused, or takes too long.
    """
    until = time.monotonic() + timeout_s

    def check() -> None:
        if time.monotonic() > until:
            raise StepError(f"no answer within {timeout_s:g} s", changed=False)

    with _errors(path, path), closing(_connect(path, "rw", timeout_s=timeout_s)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA query_only = ON")
        try:
            with _interruptible(connection, check):
                return connection.execute(text).fetchmany(at_most)
        except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:
            raise StepError(str(error), changed=False) from error


def schema_digest(path: Path) -> str:
    """Of all definitions, and of the tables in which migrations are noted."""
    # Not as a file that nobody has open: what is new may stand in its log alone.
    with _errors(path, path), closing(_connect(path, "rw")) as connection:
        connection.execute("BEGIN")
        names = filter(is_of_migrations, _tables(connection))
        tables = [(name, _table_fingerprint(connection, name, lambda: None)) for name in names]
        version = connection.execute("PRAGMA user_version").fetchone()
        told = f"{_schema_sha256(connection)} {version} {tables}"
        connection.execute("COMMIT")
    return hashlib.sha256(told.encode()).hexdigest()


def integrity_problems(path: Path, *, check: Callable[[], None] = lambda: None) -> list[str]:
    """What SQLite's own integrity check finds wrong with a file that nobody has open."""
    try:
        with (
            closing(_connect(path, "immutable")) as connection,
            _interruptible(connection, check),
        ):
            rows = connection.execute("PRAGMA integrity_check(5)").fetchall()
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [str(row[0]) for row in rows if row[0] != "ok"]


def row_counts(path: Path, *, timeout_s: float = 2.0) -> dict[str, int]:
    """How many rows each table of a live database has right now.

    Raises:
        StepError: it cannot be read.
    """
    with _errors(path, path), closing(_connect(path, "rw", timeout_s=timeout_s)) as connection:
        connection.execute("BEGIN")
        counts = {
            table: connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0]
            for table in _tables(connection)
        }
        connection.execute("COMMIT")
    return counts


def checkpoint(path: Path, *, timeout_s: float) -> None:
    """Bring all that is committed into the file itself, so that it stands without side files.

    Raises:
        Unfit: it is no database, or a damaged one.
        StepError: somebody still has it open.
    """
    # SQLite deletes the log of a file that it cannot read: first look without touching anything.
    with _errors(path, path), closing(_connect(path, "immutable")) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if path.stat().st_size == 0 and Path(f"{path}-wal").exists():
        raise Unfit(f"database `{path}` is empty, but has a log")
    with _errors(path, path), closing(_connect(path, "rw", timeout_s=timeout_s)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    # The last connection to close removes the log: where it is still there, ours was not the last.
    if busy or Path(f"{path}-wal").exists():
        raise StepError(
            f"another process has database `{path}` open",
            hint="stop what uses it, then `runbook resume`",
            changed=False,
        )


def holders(path: Path) -> list[str]:
    """The processes that have the database or a side file of it open: `name (pid 12)`.

    As far as /proc tells this user: root sees every process, others their own.
    """
    wanted = set()
    for suffix in ("", *SIDE_FILES):
        try:
            status = Path(f"{path}{suffix}").stat()
        except FileNotFoundError:
            continue
        wanted.add((status.st_dev, status.st_ino))
    return holders_of(wanted)


def _connect(path: Path, mode: str, *, timeout_s: float = 5.0) -> sqlite3.Connection:
    how = "immutable=1" if mode == "immutable" else f"mode={mode}"
    uri = f"file:{quote(os.fsencode(path))}?{how}"
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=timeout_s, check_same_thread=False
    )


@contextmanager
def _interruptible(connection: sqlite3.Connection, check: Callable[[], None]) -> Iterator[None]:
    """Lets `check` stop a long statement; what it raised is raised again outside of SQLite."""
    raised: list[StepError] = []

    def stop() -> int:
        try:
            check()
        except StepError as error:
            raised.append(error)
            return 1
        return 0

    connection.set_progress_handler(stop, 1_000_000)
    try:
        yield
    except sqlite3.OperationalError:
        if raised:
            raise raised[0] from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


@contextmanager
def _errors(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translated_database_error(error, source, target) from error
    except OSError as error:
        raise translated(error, f"reading database `{source}`", changed=False) from error


def _translated_database_error(
    error: sqlite3.DatabaseError, source: Path, target: Path
) -> StepError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StepError(
            f"database `{source}` is locked by another process",
            hint="wait until it is done writing, then `runbook resume`",
            changed=False,
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
        return StepError(
            f"no room left on the disk while copying database `{source}` to `{target}`",
            hint="make room, then `runbook resume`",
            changed=False,
        )
    return Unfit(f"database `{source}` cannot be read: {error}")


def _fingerprint(connection: sqlite3.Connection, check: Callable[[], None]) -> Fingerprint:
    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    tables = {table: _table_fingerprint(connection, table, check) for table in _tables(connection)}
    return Fingerprint(
        page_size=pragma("page_size"),
        page_count=max(1, pragma("page_count")),  # a copy of an empty file has its first page
        user_version=pragma("user_version"),
        application_id=pragma("application_id"),
        schema_sha256=_schema_sha256(connection),
        tables=tables,
    )


def _schema_sha256(connection: sqlite3.Connection) -> str:
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    schema = repr(connection.execute(query).fetchall())
    return hashlib.sha256(schema.encode("utf-8", "surrogatepass")).hexdigest()


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Every table that has rows of its own: a virtual one's lie in its shadow tables."""
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 ORDER BY name"
    )
    return [str(name) for (name,) in rows]


def _table_fingerprint(
    connection: sqlite3.Connection, table: str, check: Callable[[], None]
) -> TableFingerprint:
    digest, rows = hashlib.sha256(), 0
    # As bytearray a text keeps bytes that are no UTF-8, and never looks like a blob.
    connection.text_factory = bytearray
    try:
        cursor = connection.execute(_all_rows(connection, table))
        while batch := cursor.fetchmany(_ROWS_A_READ):
            check()
            rows += len(batch)
            digest.update("".join(map(repr, batch)).encode())
    finally:
        connection.text_factory = str
    return TableFingerprint(rows=rows, sha256=digest.hexdigest())


def _all_rows(connection: sqlite3.Connection, table: str) -> str:
    """A query for the rows in an order that does not depend on indexes."""
    info = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
    columns = {bytes(name).decode("utf-8", "replace"): pk for name, pk in info}
    taken = {column.lower() for column in columns}
    source = f"{_quoted(table)} NOT INDEXED"
    for rowid in (name for name in ("rowid", "_rowid_", "oid") if name not in taken):
        try:
            connection.execute(f"SELECT {rowid} FROM {source} LIMIT 0")
        except sqlite3.OperationalError:  # WITHOUT ROWID: such a table has a primary key
            key = sorted((pk, column) for column, pk in columns.items() if pk)
            return f"SELECT * FROM {source} ORDER BY {', '.join(_quoted(c) for _, c in key)}"
        return f"SELECT {rowid}, * FROM {source} ORDER BY {rowid}"
    return f"SELECT * FROM {source}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def size_bytes(path: Path) -> int:
    """What a live database takes on disk, its log included. Raises OSError."""
    log = Path(f"{path}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)
