"""What keeps a PostgreSQL database from being switched, or would be lost by it.

Found before anything is changed, a line each, with what to type.
"""

from typing import TYPE_CHECKING, Any

from runbook.resources import Postgres
from runbook.restore import postgres_by_hand as by_hand
from runbook.tools import postgres

if TYPE_CHECKING:
    from psycopg import Connection


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


def of_sessions(connection: "Connection[Any]", database: Postgres) -> list[str]:
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


def of_state(connection: "Connection[Any]", database: Postgres) -> list[str]:
    """What is tied to the live database itself, and would stay with it."""
    name = database.database
    return [
        *_prepared(connection, name),
        *_slots(connection, name),
        *_subscriptions(connection, name),
    ]


def _prepared(connection: "Connection[Any]", name: str) -> list[str]:
    # One that is only passing through is gone within a second.
    query = """SELECT gid FROM pg_prepared_xacts WHERE database = %s
               AND prepared < clock_timestamp() - interval '1 second' ORDER BY prepared"""
    gids = [row[0] for row in connection.execute(query, [name]).fetchall()]
    return [postgres.said_of_prepared(name, gids)] if gids else []


def _slots(connection: "Connection[Any]", name: str) -> list[str]:
    query = """SELECT slot_name FROM pg_replication_slots
               WHERE database = %s AND NOT temporary ORDER BY 1"""
    return [
        f"logical replication slot `{slot}` would stay with the replaced database `{name}`: end"
        f" that replication, `SELECT pg_drop_replication_slot({by_hand.literal(slot)})`, and set"
        " it up anew afterwards"
        for (slot,) in connection.execute(query, [name]).fetchall()
    ]


def _subscriptions(connection: "Connection[Any]", name: str) -> list[str]:
    query = """SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
               WHERE d.datname = %s AND s.subenabled ORDER BY 1"""
    return [
        f"subscription `{each}` would stay with the replaced database `{name}`: type in it"
        f" `ALTER SUBSCRIPTION {by_hand.identifier(each)} DISABLE`, and create it anew afterwards"
        for (each,) in connection.execute(query, [name]).fetchall()
    ]
