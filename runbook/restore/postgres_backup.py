"""Backing up a PostgreSQL database: a dump and its fingerprint, of one snapshot.

Every table is held from before that snapshot until both are done, so that they see the same rows.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.errors import CommandFailed, StepError
from runbook.kinds import Context
from runbook.restore.manifest import PostgresEntry
from runbook.restore.point import artefact_of
from runbook.restore.postgres_commands import succeed
from runbook.restore.postgres_mark import without_mark
from runbook.tools import postgres
from runbook.tools.files import disk_errors, make_directories
from runbook.tools.postgres import Server
from runbook.tools.postgres_content import content_of, sequences_of
from runbook.tools.postgres_dump import Programs
from runbook.tools.postgres_locks import blocked_by, hold_tables
from runbook.tools.postgres_properties import (
    extensions_of,
    properties_of,
    roles_of,
    subscriptions_of,
)

if TYPE_CHECKING:
    from psycopg import Connection

_ATTEMPTS = 3


def back_up(
    name: str, server: Server, entry: PostgresEntry, staging: Path, ctx: Context
) -> PostgresEntry:
    """The entry with all that was dumped into `staging`.

    Raises:
        Absent: there is no such database.
        StepError: it cannot be dumped; a session that keeps us from it is named.
    """
    directory = staging / "databases"
    dump, globals_ = directory / f"{entry.name}.dump", directory / f"{entry.name}.globals.sql"
    with disk_errors("backing up the database", changed=False):
        make_directories(directory)
    entry = _dumped(name, server, entry, dump, ctx)
    programs = Programs(server=server, version=entry.server_version, operation=ctx.operation)
    succeed(programs.dump_globals(globals_), ctx)
    with disk_errors("backing up the database", changed=False):
        found = sorted([*dump.iterdir(), globals_])
        files = [artefact_of(staging, str(each.relative_to(staging))) for each in found]
    assert entry.content is not None
    rows = sum(table.rows for table in entry.content.tables.values())
    size_bytes = sum(file.size_bytes for file in files)
    ctx.log(f"{len(entry.content.tables)} tables, {rows} rows, {size_bytes} bytes")
    return entry.model_copy(
        update={
            "dump": str(dump.relative_to(staging)),
            "dump_of_roles": str(globals_.relative_to(staging)),
            "files": files,
        }
    )


def _dumped(
    name: str, server: Server, entry: PostgresEntry, dump: Path, ctx: Context
) -> PostgresEntry:
    """Tried anew where somebody wants a table for himself while we hold it, for he goes first."""
    waiting: list[str] = []
    for _ in range(_ATTEMPTS):
        # A killed attempt leaves a directory that looks complete: toc.dat comes early.
        with disk_errors("backing up the database", changed=False):
            shutil.rmtree(dump, ignore_errors=True)
        with server.connect(name) as connection:
            snapshot = hold_tables(connection)
            try:
                return _taken(name, server, connection, snapshot, entry, dump, ctx)
            except CommandFailed as error:
                with server.admin() as admin:
                    waiting = blocked_by(admin, connection.info.backend_pid)
                if not waiting and not _wanted_a_lock(error):
                    raise
                waiting = waiting or ["a session that has given up since"]
        ctx.log(f"the dump met somebody who wants a table alone, and begins anew: {waiting[0]}")
    raise StepError(
        f"database `{name}` cannot be dumped while somebody wants a table alone: {waiting[0]}",
        hint="wait for it, or `SELECT pg_terminate_backend(PID)`; then `runbook resume`",
        changed=False,
    )


def _wanted_a_lock(error: CommandFailed) -> bool:
    said = "\n".join(error.output_tail)
    # It bounds its wait for a lock by a timeout of that statement.
    return any(sign in said for sign in ("statement timeout", "could not obtain lock"))


def _taken(
    name: str,
    server: Server,
    connection: "Connection[Any]",
    snapshot: str,
    entry: PostgresEntry,
    dump: Path,
    ctx: Context,
) -> PostgresEntry:
    version = postgres.version_of(connection)
    programs = Programs(server=server, version=version, operation=ctx.operation)
    # Before the dump, which then has each at least so far: somebody may be counting on.
    sequences = sequences_of(connection)
    succeed(programs.dump(name, dump, snapshot=snapshot), ctx)
    content = content_of(connection, check=ctx.check)
    subscriptions = subscriptions_of(connection)
    for subscription in subscriptions:
        ctx.log(f"subscription `{subscription}` is not backed up: it would run twice")
    return entry.model_copy(
        update={
            "server_version": version,
            "content": content.model_copy(update={"sequences": sequences}),
            "properties": without_mark(properties_of(connection, name)),
            "subscriptions": subscriptions,
            "extensions": extensions_of(connection),
            "roles": roles_of(connection),
        }
    )
