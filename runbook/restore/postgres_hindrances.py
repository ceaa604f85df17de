"""What keeps a PostgreSQL database from being switched, or is left behind by it.

A line each, with what to type.
"""

import time
from typing import TYPE_CHECKING, Any

from runbook.errors import StepError
from runbook.resources import Postgres
from runbook.restore import postgres_by_hand as by_hand
from runbook.tools import postgres

if TYPE_CHECKING:
    from psycopg import Connection

_LEAVING_S = 5.0
"""For sessions that the user may not end: whoever was stopped is on the way out."""
_POLL_S = 0.1


def of_rights(connection: "Connection[Any]", database: Postgres) -> list[str]:
    """Rights that the user lacks."""
    row = connection.execute(
        "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    if row is None or row[0]:
        return []
    found = []
    if not row[1]:
        found.append(f"PostgreSQL user `{database.user}` may not create databases")
    # To own is to have the owner's rights; to give a new database to him, to become him.
    become = "SET" if postgres.version_of(connection) >= 160000 else "MEMBER"
    owner = connection.execute(
        """SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s
           AND NOT (pg_has_role(datdba, 'USAGE') AND pg_has_role(datdba, %s))""",
        [database.database, become],
    ).fetchone()
    if owner is not None:
        name = f"database `{database.database}` of `{owner[0]}`"
        found.append(f"PostgreSQL user `{database.user}` may not replace {name}")
    return found


def warnings(connection: "Connection[Any]", database: Postgres) -> list[str]:
    """What a switch would meet, or leave behind, as things stand."""
    name = database.database
    return [
        *_sessions(connection, database),
        *_prepared(connection, name),
        *_slots(connection, name),
        *_subscriptions(connection, name),
    ]


def require_endable(
    connection: "Connection[Any]", database: Postgres, *, sleep: postgres.Sleep
) -> None:
    """Raises StepError where sessions stay that the user may not end."""
    until = time.monotonic() + _LEAVING_S
    while found := _sessions(connection, database):
        if time.monotonic() > until:
            raise StepError("; ".join(found))
        sleep(_POLL_S)


def _sessions(connection: "Connection[Any]", database: Postgres) -> list[str]:
    """Sessions of others, which the user may not end, and of which he sees little."""
    query = """
      SELECT a.usename, r.rolsuper, string_agg(a.pid::text, ', ')
      FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
      WHERE a.datname = %s
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
        AND (r.rolsuper OR NOT (pg_has_role(a.usesysid, 'USAGE')
                                OR pg_has_role('pg_signal_backend', 'USAGE')))
      GROUP BY 1, 2 ORDER BY 1"""
    found = []
    for role, is_super, pids in connection.execute(query, [database.database]).fetchall():
        grant = f"GRANT pg_signal_backend TO {by_hand.identifier(database.user)}"
        mend = "only a superuser can: close them" if is_super else f"a superuser types `{grant}`"
        found.append(
            f"PostgreSQL user `{database.user}` may not end sessions of `{role}` in database"
            f" `{database.database}`, pid {pids}: {mend}"
        )
    return found


def _prepared(connection: "Connection[Any]", name: str) -> list[str]:
    # One that is only passing through is gone within a second.
    query = """SELECT gid FROM pg_prepared_xacts WHERE database = %s
               AND prepared < clock_timestamp() - interval '1 second' ORDER BY prepared"""
    gids = [row[0] for row in connection.execute(query, [name]).fetchall()]
    return [postgres.said_of_prepared(name, gids)] if gids else []


def _slots(connection: "Connection[Any]", name: str) -> list[str]:
    # Its name is taken on the whole server; it is dropped from any database.
    query = """SELECT slot_name, plugin FROM pg_replication_slots
               WHERE database = %s AND NOT temporary ORDER BY 1"""
    return [
        f"logical replication slot `{slot}` stays with the database that a switch replaces: its"
        f" consumer is refused by the restored `{name}`, and WAL is kept for it. Afterwards set it"
        f" up anew, in `{name}`: `SELECT pg_drop_replication_slot({by_hand.literal(slot)})`,"
        f" `SELECT pg_create_logical_replication_slot({by_hand.literal(slot)},"
        f" {by_hand.literal(plugin)})`, and let its consumer read all rows again"
        for slot, plugin in connection.execute(query, [name]).fetchall()
    ]


def _subscriptions(connection: "Connection[Any]", name: str) -> list[str]:
    query = """SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
               WHERE d.datname = %s AND s.subenabled ORDER BY 1"""
    return [
        f"subscription `{each}` stays with the database that a switch replaces, which lets nobody"
        f" in: it receives nothing more, and its publisher keeps WAL for it. Afterwards open the"
        f" replaced database by `ALTER DATABASE … ALLOW_CONNECTIONS true`, type in it `DROP"
        f" SUBSCRIPTION {by_hand.identifier(each)}`, and create it anew in `{name}`"
        for (each,) in connection.execute(query, [name]).fetchall()
    ]
