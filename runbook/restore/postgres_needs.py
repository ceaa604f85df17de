"""What preflight and people are told of a PostgreSQL database and its way back."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.errors import Absent, StepError
from runbook.resources import Postgres
from runbook.restore import postgres_hindrances
from runbook.restore.manifest import PostgresEntry
from runbook.tools import postgres
from runbook.tools.postgres import Server
from runbook.tools.postgres_content import FORM, Content, rewritten, row_counts
from runbook.tools.postgres_dump import missing_programs

if TYPE_CHECKING:
    from psycopg import Connection

Reach = Callable[[], Server]
_SHOWN_TABLES = 20
_COMPARING_S = 1.0
"""For reading rows again, in the midst of an outage."""


def missing(database: Postgres, reach: Reach) -> list[str]:
    """What is missing to back it up and to restore it."""
    try:
        server = reach()
        with server.admin() as connection:
            found = missing_programs(server, postgres.version_of(connection))
            found += postgres_hindrances.of_rights(connection, database)
            return found
    except Absent:
        return []
    except StepError as error:
        return [error.message]


def obstacles(connection: "Connection[Any]", entry: PostgresEntry) -> list[str]:
    """What keeps this server from taking the backup."""
    ours, theirs = postgres.version_of(connection) // 10000, entry.server_version // 10000
    found = []
    if theirs > ours:
        found.append(f"it is of PostgreSQL {theirs}, newer than the server, {ours}")
    if roles := _unknown(connection, "SELECT rolname FROM pg_roles", entry.roles):
        found.append(f"the server has no role {roles}: they stand in `{entry.dump_of_roles}`")
    query = "SELECT name FROM pg_available_extensions"
    if extensions := _unknown(connection, query, entry.extensions):
        found.append(f"the server lacks extension {extensions}")
    spaces = [entry.properties.tablespace] if entry.properties else []
    if spaces := _unknown(connection, "SELECT spcname FROM pg_tablespace", spaces):
        found.append(f"the server has no tablespace {spaces}")
    return found


def _unknown(connection: "Connection[Any]", query: Any, names: Any) -> Any:
    known = {row[0] for row in connection.execute(query).fetchall()}
    return ", ".join(f"`{name}`" for name in sorted(set(names) - known))


def place_and_size(name: str, reach: Reach) -> tuple[Path | None, int]:
    """Where the server's data lie, if on this machine, and how large the database is."""
    try:
        server = reach()
        with server.admin() as connection:
            query = "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %s"
            row = connection.execute(query, [name]).fetchone()
    except StepError:
        return None, 0
    place = Path(server.data_dir) if server.data_dir else None
    return place if place and place.exists() else None, int(row[0]) if row else 0


def written_since(connection: "Connection[Any]", name: str, content: Content) -> list[str]:
    """Which tables hold more, fewer or other rows than then, a line each."""
    then, now = content.tables, row_counts(connection)
    same = {table: each for table, each in then.items() if now.get(table) == each.rows}
    others: list[str] = []
    unread = len(same)
    if content.form == FORM:
        others, unread = rewritten(connection, same, budget_s=_COMPARING_S)
    changed = []
    for table in sorted(then.keys() | now.keys()):
        rows = then[table].rows if table in then else 0
        title = f"{name}.{table.removeprefix('public.')}"
        if table in others:
            changed.append(f"{title}: {rows} rows then and now, not the same ones")
        elif table not in same:
            changed.append(f"{title}: {rows} rows then, {now.get(table, 0)} now")
    more = len(changed) - _SHOWN_TABLES
    shown = changed[:_SHOWN_TABLES] + ([f"and {more} tables more"] if more > 0 else [])
    if unread:
        shown.append(f"{name}: tables with as many rows as then, not compared: {unread}")
    return shown or [f"database `{name}` holds the same rows as then"]
