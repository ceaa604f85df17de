"""The journal in an SQLite file: the default store.

Its settings are those under which no acknowledged commit was lost in simulated power cuts. WAL only
where SQLite is free of the WAL-reset bug: older ones can corrupt the file (sqlite.org/wal.html).
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from runbook import __version__
from runbook.codec import decode_event, encode_event
from runbook.core.events import Event, Outcome, RunStarted
from runbook.core.journal import Batch, RunFilter, RunSummary
from runbook.errors import Bug, JournalConflict, JournalUnreadable, JournalUnwritable
from runbook.stores.fence import is_recorded_already
from runbook.tools.files import fsync_directory, fsync_file

_BUSY_TIMEOUT_MS = 10_000
_FULL = 2
_SAFE_WAL = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""First releases of their lines without the WAL-reset bug."""
_SETTINGS = {
    "foreign_keys": 1,
    "busy_timeout": _BUSY_TIMEOUT_MS,
    "synchronous": _FULL,
    "trusted_schema": 0,
    "cell_size_check": 1,
}
_UNWRITABLE = {
    sqlite3.SQLITE_FULL: "is full",
    sqlite3.SQLITE_IOERR: "is failing",
    sqlite3.SQLITE_READONLY: "is read-only, or the file is not ours to write",
    sqlite3.SQLITE_CANTOPEN: "does not let us open it",
    sqlite3.SQLITE_PERM: "does not let us open it",
    sqlite3.SQLITE_BUSY: "is fine, but another process has been writing for 10 s",
    sqlite3.SQLITE_PROTOCOL: "does not lock files reliably",
}
_UNREADABLE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def journal_mode_of(version: tuple[int, int, int]) -> str:
    """The journal mode that is safe with that version of SQLite."""
    has_fix = version >= _SAFE_WAL[-1] or any(
        version[:2] == fixed[:2] and version >= fixed for fixed in _SAFE_WAL
    )
    return "wal" if has_fix else "persist"


class SqliteJournal:
    """A Journal in one file. Threads may share it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, *, is_read_only: bool = False) -> "SqliteJournal":
        """The journal in that file, which is made, mode 0600, unless only read.

        Raises:
            JournalUnwritable: the file cannot be made or opened.
            JournalUnreadable: it is no journal, damaged, or of a newer program.
        """
        with _sqlite_errors(path):
            if is_read_only:
                _recover(path)
            else:
                _create(path)
            connection = _connect(path, "ro" if is_read_only else "rw")
            try:
                _configure(connection, path, is_read_only=is_read_only)
                if not is_read_only:
                    _migrate(connection)
                    fsync_file(path)
                    fsync_directory(path.parent)
                _check_format(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def append(self, batches: Sequence[Batch]) -> None:
        """Record all or nothing; see Journal."""
        rows = [_rows(batch) for batch in batches]
        with self._lock, _sqlite_errors(self._path):
            try:
                with _transaction(self._connection):
                    for batch, events in zip(batches, rows, strict=True):
                        self._insert(batch.events[0], events)
            except sqlite3.IntegrityError:
                # Looked at only now: as a rule the place is free.
                if not is_recorded_already(batches, self._ids_from):
                    raise

    def read(self, run_id: str) -> list[Event]:
        """The events of a run, in order; empty: there is no such run."""
        query = "SELECT body FROM event WHERE run_id = ? ORDER BY seq"
        return [decode_event(body) for (body,) in self._fetch(query, (run_id,))]

    def runs(self, run_filter: RunFilter) -> list[RunSummary]:
        """Those that pass the filter, newest first."""
        wanted = {
            "lock": run_filter.lock,
            "undoes": run_filter.undoes,
            "is_unfinished": run_filter.is_unfinished,
            "limit": run_filter.limit,
        }
        return [_summary(row) for row in self._fetch(_sql("runs"), wanted)]

    def resolve(self, prefix: str) -> list[str]:
        """The ids of the runs that begin so; an id that is there in full means only itself."""
        return [run_id for (run_id,) in self._fetch(_sql("resolve"), {"prefix": prefix})]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _fetch(self, query: str, parameters: Any) -> list[Any]:
        with self._lock, _sqlite_errors(self._path):
            try:
                return self._connection.execute(query, parameters).fetchall()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                    raise
                # A writer was killed in a commit since we opened the file.
                _recover(self._path)
                return self._connection.execute(query, parameters).fetchall()

    def _insert(self, first: Event, rows: Sequence[tuple[str, int, str, str, str]]) -> None:
        if isinstance(first, RunStarted):
            undoes = first.undone.run_id if first.undone else None
            run = (first.run_id, first.plan.lock, first.plan.runbook, undoes, first.at.isoformat())
            self._connection.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?)", run)
        self._connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?)", rows)

    def _ids_from(self, run_id: str, seq: int) -> list[str]:
        query = "SELECT event_id FROM event WHERE run_id = ? AND seq >= ? ORDER BY seq"
        return [event_id for (event_id,) in self._connection.execute(query, (run_id, seq))]


def _rows(batch: Batch) -> list[tuple[str, int, str, str, str]]:
    return [
        (
            batch.run_id,
            batch.expected_seq + index,
            event_id,
            type(event).__name__,
            encode_event(event),
        )
        for index, (event, event_id) in enumerate(zip(batch.events, batch.ids, strict=True))
    ]


def _summary(row: tuple[Any, ...]) -> RunSummary:
    run_id, lock, runbook, started_at, undoes, outcome, last_at = row
    return RunSummary(
        run_id=run_id,
        lock=lock,
        runbook=runbook,
        started_at=datetime.fromisoformat(started_at),
        undoes=undoes,
        outcome=None if outcome is None else Outcome(outcome),
        last_at=datetime.fromisoformat(last_at),
    )


# --- opening --------------------------------------------------------------------------------


@cache
def _sql(name: str) -> str:
    return (files("runbook.stores") / "sql" / f"{name}.sql").read_text("utf-8")


@cache
def _migrations() -> tuple[str, ...]:
    """Each takes the file from the format of its place in the list to the next."""
    directory = files("runbook.stores") / "migrations"
    found = sorted(
        (m for m in directory.iterdir() if m.name.endswith(".sql")), key=lambda m: m.name
    )
    return tuple(migration.read_text("utf-8") for migration in found)


def _create(path: Path) -> None:
    with suppress(FileExistsError):
        # SQLite gives its own files beside it the same mode.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_BUSY_TIMEOUT_MS / 1000,
    )


def _configure(connection: sqlite3.Connection, path: Path, *, is_read_only: bool) -> None:
    """Set what durability and integrity need, and make sure of it: a PRAGMA can fail in silence."""
    wanted: dict[str, int | str] = dict(_SETTINGS)
    for name, value in wanted.items():
        connection.execute(f"PRAGMA {name} = {value}")
    if not is_read_only:
        wanted["journal_mode"] = journal_mode_of(sqlite3.sqlite_version_info)
        connection.execute(f"PRAGMA journal_mode = {wanted['journal_mode']}")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    for name, value in wanted.items():
        (found,) = connection.execute(f"PRAGMA {name}").fetchone()
        if found != value:
            raise JournalUnwritable(
                f"the journal `{path}` does not take the setting {name}={value}, but has `{found}`",
                hint="choose a local file system by `--state-dir`",
            )


def _migrate(connection: sqlite3.Connection) -> None:
    newest = len(_migrations())
    if _format(connection) >= newest:
        return
    with _transaction(connection):
        # Read again: another process may have been here in between.
        for number, script in enumerate(_migrations()[_format(connection) :], _format(connection)):
            for statement in _statements(script):
                connection.execute(statement)
            row = (number + 1, __version__)
            connection.execute("INSERT INTO format VALUES (?, ?)", row)
        connection.execute(f"PRAGMA user_version = {newest}")


def _statements(script: str) -> Iterator[str]:
    """One by one: `executescript` would end the transaction that they must share."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    found = _format(connection)
    if found == len(_migrations()):
        return
    if found < len(_migrations()):
        raise JournalUnreadable(
            f"the journal `{path}` is of format {found}; this program reads {len(_migrations())}",
            hint="run any command that writes to bring it up to date",
        )
    rows = connection.execute("SELECT written_by FROM format ORDER BY version DESC").fetchone()
    raise JournalUnreadable(
        f"the journal `{path}` is of format {found}; this program reads up to {len(_migrations())}",
        hint=f"use runbook {rows[0] if rows else ''} or newer",
    )


def _recover(path: Path) -> None:
    """Roll back what a killed writer left half done: who opens the file to read only cannot."""
    if not path.with_name(f"{path.name}-journal").exists() or not os.access(path, os.W_OK):
        return
    connection = _connect(path, "rw")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    finally:
        connection.close()


# --- transactions and errors ----------------------------------------------------------------


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors, a full disk among them.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise JournalConflict(f"the journal `{path}` refused an event: {error}") from error
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise JournalUnwritable(f"the journal `{path}` cannot be opened: {reason}") from error


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    # Programming errors of our own have no code; the primary one is in the low byte.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
    if code in _UNREADABLE:
        return JournalUnreadable(
            f"the journal `{path}` is damaged, or no journal: {error}",
            hint="keep the file, and put a copy of it from before in its place",
        )
    if code in _UNWRITABLE:
        return JournalUnwritable(
            f"the journal `{path}` cannot be used: {_mount_point(path)} {_UNWRITABLE[code]}",
            hint="make room, then `runbook resume`" if code == sqlite3.SQLITE_FULL else None,
        )
    return Bug(f"the journal `{path}` failed: {error}")


def _mount_point(path: Path) -> str:
    mount = next((p for p in path.absolute().parents if p.is_mount()), Path("/"))
    return f"the file system at `{mount}`"
