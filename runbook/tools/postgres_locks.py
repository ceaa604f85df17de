"""Locks on a PostgreSQL database: every table held as it is, and who holds what we wait for.

A snapshot does not shield from TRUNCATE, nor from what writes a table anew: what it sees of such a
table is empty (PostgreSQL docs, Caveats of MVCC). A lock that was there before the snapshot does.
"""

from typing import TYPE_CHECKING, Any

from runbook.errors import StepError

if TYPE_CHECKING:
    from psycopg import Connection

_ROUNDS = 20
_TABLES = """
  SELECT c.oid::int8, n.nspname, c.relname FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%'
    AND n.nspname <> 'information_schema' AND has_table_privilege(c.oid, 'SELECT')
  ORDER BY c.oid
"""
_SESSION = """
  SELECT concat('pid ', a.pid, ' of `', a.usename, '`, application `', a.application_name,
                '`, since ', to_char(a.query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
                ' UTC: ', left(regexp_replace(a.query, '\\s+', ' ', 'g'), 60))
  FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid()
"""
_HOLDERS = f"""
  {_SESSION} AND a.pid IN (
    SELECT l.pid FROM pg_locks l LEFT JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = %(database)s AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
       OR l.database = 0 AND l.locktype = 'object' AND l.classid = 'pg_database'::regclass
       OR l.database = 0 AND l.relation = 'pg_database'::regclass AND l.mode <> 'AccessShareLock')
  ORDER BY a.xact_start LIMIT 5
"""
_PREPARED_HOLDERS = """
  SELECT concat('prepared transaction `', p.gid, '`') FROM pg_prepared_xacts p
  WHERE p.database = %(database)s AND EXISTS (
    SELECT FROM pg_locks l WHERE l.pid IS NULL AND l.mode = 'AccessExclusiveLock'
    AND l.virtualtransaction = concat('-1/', p.transaction))
"""


def hold_tables(connection: "Connection[Any]") -> str:
    """Begin a transaction in which every table stays as it is; its snapshot, exported.

    Raises:
        StepError: tables come and go faster than they can be held.
    """
    from psycopg import errors

    for _ in range(_ROUNDS):
        tables = connection.execute(_TABLES).fetchall()
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            _hold(connection, tables)
            row = connection.execute("SELECT pg_export_snapshot()").fetchone()
            if connection.execute(_TABLES).fetchall() == tables:
                return str(row[0] if row else "")
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.DeadlockDetected):
            pass  # or somebody holds one table and wants another, which we had first
        connection.execute("ROLLBACK")
    raise StepError(
        "tables are created and dropped all the time: no snapshot could be held still",
        hint="stop what does it, then `runbook resume`",
        changed=False,
    )


def _hold(connection: "Connection[Any]", tables: list[Any]) -> None:
    from psycopg.sql import SQL, Identifier

    if tables:
        names = [SQL("ONLY {}").format(Identifier(schema, name)) for _, schema, name in tables]
        statement = SQL("LOCK TABLE {} IN ACCESS SHARE MODE")
        connection.execute(statement.format(SQL(", ").join(names)))


def blocked_by(connection: "Connection[Any]", pid: int) -> list[str]:
    """Who waits for that session to let go, in words."""
    query: Any = f"{_SESSION} AND %s = ANY(pg_blocking_pids(a.pid))"
    return [row[0] for row in connection.execute(query, [pid]).fetchall()]


def sessions(connection: "Connection[Any]", pids: list[int]) -> list[str]:
    """Who these are, in words."""
    query: Any = f"{_SESSION} AND a.pid = ANY(%s)"
    return [row[0] for row in connection.execute(query, [pids]).fetchall()]


def holders(connection: "Connection[Any]", database: str) -> list[str]:
    """Who holds locks, or waits for them, that keep us from a database, in words."""
    queries: tuple[Any, ...] = (_HOLDERS, _PREPARED_HOLDERS)
    return [
        row[0]
        for query in queries
        for row in connection.execute(query, {"database": database}).fetchall()
    ]
