"""The mark of a PostgreSQL database that was restored beside the live one: its comment.

It names the backup, and the database by its oid: a copy of the database, or another one that has
been given the same comment, bears a mark that is not its own (docs/adr/0012).
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from runbook.restore.manifest import PostgresEntry
from runbook.tools.postgres_properties import Properties

if TYPE_CHECKING:
    from psycopg import Connection

_BEGIN = "runbook: restored from "


def mark_of(entry: PostgresEntry, oid: int | None) -> str:
    """What the comment of the database of that oid says once it holds exactly this backup."""
    # A manifest is written with its keys sorted, an entry has them in another order before; and
    # what later versions add to entries is not in those that are there.
    told = entry.model_dump(mode="json", exclude={"warm"}, exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return f"{_BEGIN}{digest} as {oid}"


def is_marked(connection: "Connection[Any]", staged: str, entry: PostgresEntry) -> bool:
    """Whether a database holds exactly this backup, and nobody has been let into it since."""
    query = """SELECT shobj_description(oid, 'pg_database'), datallowconn, oid::int8
               FROM pg_database WHERE datname = %s"""
    row = connection.execute(query, [staged]).fetchone()
    return row is not None and row[0] == mark_of(entry, row[2]) and not row[1]


def without_mark(properties: Properties) -> Properties:
    """Of a live database that was put in its place by hand, and has kept the mark."""
    if (properties.comment or "").startswith(_BEGIN):
        return properties.model_copy(update={"comment": None})
    return properties
