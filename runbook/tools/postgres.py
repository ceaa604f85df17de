"""A PostgreSQL server: reaching it, and the databases that it has.

One that is a service of a stack: servers.py. What a database holds: postgres_content.py; dumps:
postgres_dump.py.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from runbook.errors import Absent, StepError, StepStopped, TimedOut, Unfit
from runbook.resources import Postgres
from runbook.secret import Secret
from runbook.tools import postgres_locks, servers
from runbook.tools.postgres_watch import watched

if TYPE_CHECKING:
    from psycopg import Connection

_CONNECT_TIMEOUT_S = 5
_UNBOUNDED = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
"""The database's own settings may bound these: a backup takes as long as its step may."""
_NOTICED = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
"""Should our machine die, the server ends our session, and its locks, in a minute, not in 2 h."""
_NOTICING: Mapping[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""The same, should the server's machine or the network die."""
PATIENCE_S = 60.0
"""For a server to start, for sessions to end, and for a lock."""
_POLL_S = 0.1
_STARTING = ("starting up", "not yet accepting", "shutting down", "in recovery mode")
"""What a server says of itself that will answer in a while."""
_SILENT = (
    *("refused", "No route", "timeout"),
    *("closed the connection", "reset by peer", "terminating connection"),
)
"""What is said of one that may be on its way: down, or just coming up."""
_RESTART_S = 3.0
"""For one that is nothing of ours, and may as well be the wrong address."""

Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs."""

    host: str
    port: int
    user: str
    password: Secret | None
    application: str
    """What it shows of our sessions, so that what outlived us is found."""
    check: Callable[[], None]
    """Raises once the step is to end: then sessions are broken off."""
    container_id: str | None = None
    """Its container, where it is a service."""
    image_id: str | None = None
    """Its container's image: has the dump programs of exactly its version."""
    data_dir: str | None = None
    """Where the engine's host has its data, if it is a service."""
    maintenance: str = "postgres"
    """A database that every server has, and that is not the one to be replaced."""
    lock_patience_s: float = PATIENCE_S
    """How long a statement waits for a lock; then who holds it is told."""

    @contextmanager
    def connect(self, database: str) -> "Iterator[Connection[Any]]":
        """A session, in autocommit.

        Raises:
            Absent: there is no such database.
            StepError: the server refuses, does not answer, or breaks off.
        """
        import psycopg

        locks = f"-c lock_timeout={self.lock_patience_s * 1000:.0f}"
        try:
            connection = psycopg.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password.reveal() if self.password else None,
                dbname=database,
                application_name=self.application,
                connect_timeout=_CONNECT_TIMEOUT_S,
                options=f"{_UNBOUNDED} {_NOTICED} {locks}",
                autocommit=True,
                **_NOTICING,
            )
        except psycopg.Error as error:
            if database != self.maintenance:
                self._require(database)
            raise _translated(error) from error
        try:
            with connection, watched(connection, self.check):
                if version_of(connection) >= 170000:
                    connection.execute("SET transaction_timeout = 0")
                yield connection
        except psycopg.errors.LockNotAvailable as error:
            raise self._locked(database) from error
        except psycopg.Error as error:
            raise _translated(error) from error

    def _locked(self, database: str) -> StepError:
        with self.admin() as connection:
            found = "; ".join(postgres_locks.holders(connection, database))
        return StepError(
            f"PostgreSQL: no lock in `{database}` within {self.lock_patience_s:.3g} s;"
            f" held by {found or 'sessions that have ended since'}",
            hint="wait for it, or `SELECT pg_terminate_backend(PID)`; then `runbook resume`",
        )

    def admin(self) -> "AbstractContextManager[Connection[Any]]":
        """A session in the database that every server has, to act on the others."""
        return self.connect(self.maintenance)

    def _require(self, database: str) -> None:
        """Raises Absent: what a refusal says may be in any language, the catalogue not."""
        with self.admin() as connection:
            if oid_of(connection, database) is None:
                raise Absent(f"there is no database `{database}`", changed=False)


def application_name(operation: str) -> str:
    """What the server shows of that operation's sessions: 63 bytes at most."""
    return f"runbook {operation}"[-63:]


def _translated(error: Exception) -> StepError:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    if "password authentication failed" in text or "no password supplied" in text:
        return Unfit(f"PostgreSQL refuses us: {text}", hint="check `user` and `password`")
    return StepError(f"PostgreSQL: {text}")


# --- finding and starting -------------------------------------------------------------------


def reach(
    database: Postgres,
    resources: Mapping[str, Any],
    *,
    application: str,
    check: Callable[[], None],
    log: Callable[[str], None],
    patience_s: float = PATIENCE_S,
    lock_patience_s: float = PATIENCE_S,
) -> Server:
    """The database's server, which runs once this returns.

    Raises:
        Absent: it is a service that has no container yet.
        Unfit: it does not run, or does not answer.
    """
    given = database.password
    password = Secret(given) if isinstance(given, str) else given
    if database.host is not None:
        server = Server(
            host=database.host,
            port=database.port,
            user=database.user,
            password=password,
            application=application,
            check=check,
        )
    else:
        found = servers.running(
            database,
            resources,
            data_dirs=lambda attributes: {_data_dir(attributes) or ""},
            check=check,
            log=log,
            patience_s=patience_s,
        )
        server = _server_of(found, database, password, application, check)
    server = replace(server, lock_patience_s=lock_patience_s)
    if database.database == server.maintenance:
        server = replace(server, maintenance="template1")
    _await(server, patience_s)
    return server


def _data_dir(attributes: Mapping[str, Any]) -> str | None:
    """Where the engine's host has the server's data."""
    environment = dict(each.partition("=")[::2] for each in attributes["Config"]["Env"] or [])
    data = environment.get("PGDATA", "/var/lib/postgresql/data")
    mounts = sorted(attributes["Mounts"], key=lambda mount: -len(mount["Destination"]))
    return next(
        (each["Source"] for each in mounts if f"{data}/".startswith(f"{each['Destination']}/")),
        None,
    )


def _server_of(
    found: servers.Running,
    database: Postgres,
    password: Secret | None,
    application: str,
    check: Callable[[], None],
) -> Server:
    attributes = found.attributes
    return Server(
        host=found.host,
        port=database.port,
        user=database.user,
        password=password,
        application=application,
        check=check,
        container_id=str(attributes["Id"]),
        image_id=str(attributes["Image"]),
        data_dir=_data_dir(attributes),
    )


def _await(server: Server, patience_s: float) -> None:
    began = time.monotonic()
    silence_s = patience_s if server.container_id else min(patience_s, _RESTART_S)
    while True:
        try:
            with server.admin() as connection:
                connection.execute("SELECT 1")
            return
        except (Unfit, StepStopped, TimedOut):
            raise
        except StepError as error:
            text, waited_s = error.message, time.monotonic() - began
            is_starting = any(sign in text for sign in _STARTING) and waited_s < patience_s
            is_silent = any(sign in text for sign in _SILENT) and waited_s < silence_s
            if not is_starting and not is_silent:
                raise Unfit(
                    f"the server at {server.host}:{server.port} does not answer: {text}",
                    hint="see whether it runs, and whether the address is right",
                ) from error
        server.check()
        time.sleep(_POLL_S)


# --- databases ------------------------------------------------------------------------------


def query(
    connection: "Connection[Any]", text: str, *, timeout_s: float, at_most: int
) -> list[tuple[Any, ...]]:
    """The first rows that one statement gives, in a transaction that can change nothing.

    Raises:
        StepError: it is refused, or takes too long.
    """
    import psycopg

    try:
        with connection.transaction(force_rollback=True), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true)", [str(int(timeout_s * 1000))]
            )
            # Row by row, which also takes one statement only: a second could end our transaction.
            rows: Any = cursor.stream(text)
            with closing(rows):
                return list(islice(rows, at_most))
    except psycopg.errors.QueryCanceled as error:
        raise StepError(f"no answer within {timeout_s:g} s", changed=False) from error
    except psycopg.errors.LockNotAvailable:
        raise  # to where who holds it is found out
    except psycopg.Error as error:
        raise StepError(str(error).strip().splitlines()[0], changed=False) from error


def version_of(connection: "Connection[Any]") -> int:
    """The server's `server_version_num`, such as 150018."""
    return connection.info.server_version


def oid_of(connection: "Connection[Any]", database: str) -> int | None:
    """A database's oid, which a rename leaves as it is; None: there is none of that name."""
    query = "SELECT oid::int8 FROM pg_database WHERE datname = %s"
    row = connection.execute(query, [database]).fetchone()
    return int(row[0]) if row else None


def allow_connections(connection: "Connection[Any]", database: str, *, allowed: bool) -> None:
    """Let nobody connect to a database any more, superusers included; or let them again."""
    from psycopg import sql

    word = sql.SQL("true" if allowed else "false")
    statement = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
    connection.execute(statement.format(sql.Identifier(database), word))


def is_closed(connection: "Connection[Any]", database: str) -> bool:
    """Whether nobody may connect to a database, which is there."""
    query = "SELECT NOT datallowconn FROM pg_database WHERE datname = %s"
    row = connection.execute(query, [database]).fetchone()
    return bool(row and row[0])


def end_sessions(connection: "Connection[Any]", database: str, *, sleep: Sleep) -> None:
    """End every session of a database; raises StepError where one stays."""
    # A rename ends PostgreSQL's own vacuuming by itself, and only a superuser may: it is nobody's.
    # Its `backend_type` is hidden from others than superusers, as everybody else's is.
    query = """SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()
               AND usesysid IS NOT NULL"""
    _end(connection, query, database, sleep)
    query = "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY prepared"
    if gids := [row[0] for row in connection.execute(query, [database]).fetchall()]:
        raise StepError(said_of_prepared(database, gids))


def said_of_prepared(database: str, gids: Sequence[str]) -> str:
    """That a database has prepared transactions, and what to type."""
    names = ", ".join(f"`{gid}`" for gid in gids)
    gid = gids[0].replace("'", "''")
    return (
        f"database `{database}` has prepared transactions: {names}: end each, connected to it,"
        f" by `COMMIT PREPARED '{gid}'` or `ROLLBACK PREPARED '{gid}'`"
    )


def end_own_sessions(connection: "Connection[Any]", application: str, *, sleep: Sleep) -> None:
    """End what an attempt that was killed has left at work: the server goes on without it."""
    query = """SELECT pid FROM pg_stat_activity WHERE application_name = %s
               AND usename = current_user AND pid <> pg_backend_pid()"""
    _end(connection, query, application, sleep)


def _end(connection: "Connection[Any]", query: Any, value: str, sleep: Sleep) -> None:
    until = time.monotonic() + PATIENCE_S
    while pids := [row[0] for row in connection.execute(query, [value]).fetchall()]:
        if time.monotonic() > until:
            told = "; ".join(postgres_locks.sessions(connection, pids))
            raise StepError(f"sessions of `{value}` do not end: {told}")
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        sleep(_POLL_S)


def drop(connection: "Connection[Any]", database: str) -> None:
    """Drop a database, and end whoever uses it."""
    from psycopg import sql

    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    connection.execute(statement.format(sql.Identifier(database)))


def comment(connection: "Connection[Any]", database: str, comment: str | None) -> None:
    """Say what a database's comment is; None: nothing."""
    from psycopg.sql import SQL, Identifier, Literal

    statement = SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(Identifier(database), Literal(comment)))


def rename(connection: "Connection[Any]", old: str, new: str) -> None:
    """Give a database another name; fails while anybody is connected to it."""
    from psycopg.sql import SQL, Identifier

    statement = SQL("ALTER DATABASE {} RENAME TO {}")
    connection.execute(statement.format(Identifier(old), Identifier(new)))
