"""What a way back needs of a database, whatever its engine: one module per engine implements it.

The steps know this interface and no engine. A new engine is a resource type, an entry in the
manifest, a module beside this one, and a line in `way_of`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, assert_never

from runbook.kinds import Context, Room
from runbook.resources import Database, Postgres, Sqlite
from runbook.restore.manifest import DatabaseEntry

E = TypeVar("E", bound=DatabaseEntry)
Phase = Literal["stage", "switch", "all"]
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Switched:
    """The restored database has the live one's name."""

    replaced: str | None
    """Where the one that it replaced is kept; absent: there was none."""


class DatabaseWay(Protocol[E]):
    """Backing up one database, restoring it beside the live one, and swapping the two.

    A staged database is named by text: a path, or a database's name. Every method may be called
    again after a crash at any instant, and goes on from what it finds.
    """

    def back_up(self, staging: Path, ctx: Context) -> E:
        """Copy it, consistent, checked and durable, into `staging`; absent where there is none."""

    def import_dump(self, file: Path, staging: Path, ctx: Context) -> E:
        """Make a dump of other tools' a backup in `staging`, as `back_up` would; raises Unfit."""

    def flaws(self, root: Path, entry: E, ctx: Context) -> list[str]:
        """What reading the copy in `root` as a database finds wrong with it."""

    def staged_name(self, operation: str) -> str:
        """Where the step of that operation stages it."""

    def warm(self, entry: E, ctx: Context) -> str | None:
        """The copy that was restored when the restore point was sealed, if it is still whole."""

    def is_staged(self, staged: str, entry: E, ctx: Context) -> bool:
        """Whether a staged database is whole."""

    def stage(self, staged: str, root: Path, entry: E, ctx: Context) -> None:
        """Restore the copy in `root` beside the live database, compared with its fingerprint."""

    def switch(self, staged: str, root: Path, entry: E, ctx: Context) -> Switched:
        """Give the staged database the live one's name, in one instant; keep the one replaced.

        What lets `switched` find out is durable, by `record_progress`, before it happens.
        """

    def switched(self, ctx: Context) -> Switched | None:
        """Whether this step's `switch` has happened; makes it durable where it has."""

    def has_staged(self, staged: str, ctx: Context) -> bool:
        """Whether there is a staged database of that name, whole or not."""

    def drop(self, staged: str, ctx: Context) -> bool:
        """Delete a staged database; false: there is none."""

    def written_since(self, entry: E, ctx: Context) -> list[str]:
        """What differs from then, a line each, for people; raises StepError where it can't tell."""

    def obstacles(self, entry: E, ctx: Context) -> list[str]:
        """What keeps the server from taking the copy, a line each; raises where it can't tell."""

    def schema_digest(self, ctx: Context) -> str:
        """Of its schema, and of the tables in which migrations are noted; the same: none ran."""

    def query(self, text: str, ctx: Context, *, timeout_s: float, at_most: int) -> list[Row]:
        """The first rows of a query's answer; it can change nothing.

        Raises:
            Unfit: the database cannot be asked.
            StepError: it refuses the query, or takes too long.
        """

    def warnings(self, ctx: Context) -> list[str]:
        """What a switch may meet, or leave behind, as things stand, a line each; changes nothing.

        None of it is a reason to refuse: whoever uses the database may yet be stopped, and a way
        back in an outage is worth more than what it leaves to be set up anew.
        """

    def missing_for_backup(self, ctx: Context) -> list[str]:
        """What is missing for a backup; changes nothing."""

    def missing_for_restore(self, ctx: Context) -> list[str]:
        """What is missing for a restore; changes nothing."""

    def room_for_backup(self, ctx: Context) -> list[Room]:
        """The disk that a backup takes."""

    def room_for_restore(self, phase: Phase, ctx: Context) -> list[Room]:
        """The disk that a restore takes."""

    def query_by_hand(self) -> str:
        """A shell command that a query is to be added to."""

    def backup_by_hand(self) -> Sequence[str]:
        """Shell commands."""

    def restore_by_hand(self, phase: Phase) -> Sequence[str]:
        """Shell commands."""


def way_of(database: Database) -> DatabaseWay[Any]:
    """The way back of a database."""
    match database:
        case Sqlite():
            from runbook.restore.sqlite import SqliteWay

            return SqliteWay(database)
        case Postgres():
            from runbook.restore.postgres import PostgresWay

            return PostgresWay(database)
        case _:
            assert_never(database)
