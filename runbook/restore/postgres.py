"""The way back of a PostgreSQL database: a dump of one snapshot, a database beside it, two renames.

At every instant the name is either the whole old or the whole restored database: both renames are
one transaction. What a restored database is, is noted as its comment, and nobody may connect to it
until it is live: so a later look need not read it again.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from runbook.errors import CommandFailed, StepError, Unfit
from runbook.kinds import Context, Room
from runbook.resources import Postgres
from runbook.restore.databases import Phase, Row, Switched
from runbook.restore.manifest import PostgresEntry
from runbook.restore.point import artefact_of
from runbook.tools import postgres
from runbook.tools.files import disk_errors, make_directories
from runbook.tools.postgres import DatabaseAbsent, Server
from runbook.tools.postgres_content import content_of, row_counts, schema_digest
from runbook.tools.postgres_dump import Programs, missing_programs
from runbook.tools.postgres_properties import creating, properties_of, replay

if TYPE_CHECKING:
    from psycopg import Connection

_NAME_BYTES = 63
_SHOWN_TABLES = 20


@dataclass(frozen=True, slots=True)
class PostgresWay:
    """Satisfies `databases.DatabaseWay`."""

    database: Postgres

    @property
    def _name(self) -> str:
        return self.database.database

    @property
    def _location(self) -> str:
        at = self.database.service or f"{self.database.host}:{self.database.port}"
        return f"{at}/{self._name}"

    def _server(self, ctx: Context, *, patience_s: float = postgres.PATIENCE_S) -> Server:
        return postgres.reach(
            self.database,
            ctx.resources,
            application=postgres.application_name(ctx.operation),
            sleep=ctx.sleep,
            log=ctx.log,
            patience_s=patience_s,
        )

    @contextmanager
    def _admin(self, ctx: Context) -> "Iterator[Connection[Any]]":
        with self._server(ctx).admin() as connection:
            yield connection

    # --- backing up -----------------------------------------------------------------------

    def back_up(self, staging: Path, ctx: Context) -> PostgresEntry:
        entry = PostgresEntry(
            name=self.database.name, location=self._location, taken_at=ctx.now().isoformat()
        )
        try:
            return self._back_up(entry, self._server(ctx), staging, ctx)
        except DatabaseAbsent as error:
            ctx.log(f"{error.message}: there is nothing to back up")
            return entry.model_copy(update={"absent": True})

    def _back_up(
        self, entry: PostgresEntry, server: Server, staging: Path, ctx: Context
    ) -> PostgresEntry:
        directory = staging / "databases"
        dump, roles = directory / f"{entry.name}.dump", directory / f"{entry.name}.globals.sql"
        with disk_errors("backing up the database", changed=False):
            make_directories(directory)
            # A killed attempt leaves a directory that looks complete: toc.dat comes early.
            shutil.rmtree(dump, ignore_errors=True)
        with server.connect(self._name) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row = connection.execute("SELECT pg_export_snapshot()").fetchone()
            version = postgres.version_of(connection)
            programs = Programs(server=server, version=version, operation=ctx.operation)
            _succeed(programs.dump(self._name, dump, snapshot=str(row[0] if row else "")), ctx)
            content = content_of(connection, check=ctx.check)
            properties = properties_of(connection, self._name)
        _succeed(programs.dump_globals(roles), ctx)
        with disk_errors("backing up the database", changed=False):
            found = sorted([*dump.iterdir(), roles])
            files = [artefact_of(staging, str(each.relative_to(staging))) for each in found]
        rows = sum(table.rows for table in content.tables.values())
        size_bytes = sum(file.size_bytes for file in files)
        ctx.log(f"{len(content.tables)} tables, {rows} rows, {size_bytes} bytes")
        return entry.model_copy(
            update={
                "server_version": version,
                "dump": str(dump.relative_to(staging)),
                "files": files,
                "content": content,
                "properties": properties,
            }
        )

    def flaws(self, root: Path, entry: PostgresEntry, ctx: Context) -> list[str]:
        if entry.absent:
            return []
        server = self._server(ctx)
        programs = Programs(server=server, version=entry.server_version, operation=ctx.operation)
        ended = ctx.run(programs.read(root / entry.dump))
        return [] if ended.exit_code == 0 else [f"`{entry.dump}` cannot be read: {ended.tail}"]

    # --- staging --------------------------------------------------------------------------

    def staged_name(self, operation: str) -> str:
        return self._beside("rb", operation)

    def _beside(self, word: str, operation: str) -> str:
        suffix = f"__{word}_{hashlib.sha256(operation.encode()).hexdigest()[:10]}"
        kept = self._name.encode()[: _NAME_BYTES - len(suffix)].decode("utf-8", "ignore")
        return f"{kept}{suffix}"

    def warm(self, entry: PostgresEntry, ctx: Context) -> str | None:
        if entry.warm is None or not self.is_staged(entry.warm, entry, ctx):
            return None
        return entry.warm

    def is_staged(self, staged: str, entry: PostgresEntry, ctx: Context) -> bool:
        with self._admin(ctx) as connection:
            return _is_marked(connection, staged, entry)

    def stage(self, staged: str, root: Path, entry: PostgresEntry, ctx: Context) -> None:
        assert entry.content is not None and entry.properties is not None
        server = self._server(ctx)
        with server.admin() as admin:
            if _is_marked(admin, staged, entry):
                return
            version = postgres.version_of(admin)
            if entry.server_version // 10000 > version // 10000:
                raise Unfit(
                    f"the backup is of PostgreSQL {entry.server_version // 10000}, newer than the"
                    f" server, {version // 10000}: it cannot be restored there",
                    hint="start the server's newer version again, then resume",
                )
            postgres.drop(admin, staged)
            admin.execute(creating(staged, entry.properties, version))
        try:
            programs = Programs(server=server, version=version, operation=ctx.operation)
            _succeed(programs.restore(staged, root / entry.dump), ctx)
            with server.connect(staged) as connection:
                connection.execute("ANALYZE")
                with connection.transaction():
                    restored = content_of(connection, check=ctx.check)
            if problems := entry.content.differences(restored):
                raise Unfit(
                    f"`{entry.dump}` does not hold what was backed up: {'; '.join(problems[:3])}"
                )
        except StepError:
            with server.admin() as admin:
                postgres.drop(admin, staged)
            raise
        with server.admin() as admin:
            replay(admin, staged, entry.properties)
            postgres.allow_connections(admin, staged, allowed=False)
            _comment(admin, staged, _mark_of(entry))

    def has_staged(self, staged: str, ctx: Context) -> bool:
        with self._admin(ctx) as connection:
            return postgres.oid_of(connection, staged) is not None

    def drop(self, staged: str, ctx: Context) -> bool:
        with self._admin(ctx) as connection:
            is_there = postgres.oid_of(connection, staged) is not None
            postgres.drop(connection, staged)
        return is_there

    # --- switching ------------------------------------------------------------------------

    def switch(self, staged: str, root: Path, entry: PostgresEntry, ctx: Context) -> Switched:
        self.stage(staged, root, entry, ctx)
        assert entry.properties is not None
        replaced = self._beside("old", ctx.operation)
        with self._admin(ctx) as connection:
            oid = postgres.oid_of(connection, staged)
            had_live = postgres.oid_of(connection, self._name) is not None
            ctx.record_progress(
                {"staged": staged, "oid": oid, "replaced": replaced if had_live else None}
            )
            try:
                if had_live:
                    # Before the sessions end: pools come back at once.
                    postgres.allow_connections(connection, self._name, allowed=False)
                    postgres.end_sessions(connection, self._name, sleep=ctx.sleep)
                with connection.transaction():
                    if had_live:
                        _rename(connection, self._name, replaced)
                    _rename(connection, staged, self._name)
                    _comment(connection, self._name, entry.properties.comment)
                    postgres.allow_connections(connection, self._name, allowed=True)
            except StepError:
                self._let_in_again(ctx)
                raise
        return self._kept(ctx)

    def switched(self, ctx: Context) -> Switched | None:
        """The staged database is known by its oid, which a rename leaves as it is."""
        oid = (ctx.progress or {}).get("oid")
        if oid is None:
            return None
        with self._admin(ctx) as connection:
            if postgres.oid_of(connection, self._name) == oid:
                return self._kept(ctx)
        self._let_in_again(ctx)
        return None

    def _let_in_again(self, ctx: Context) -> None:
        """Where nothing was switched, the live database is open to everybody, as it was."""
        with self._admin(ctx) as connection:
            if postgres.oid_of(connection, self._name) is not None:
                postgres.allow_connections(connection, self._name, allowed=True)

    def _kept(self, ctx: Context) -> Switched:
        replaced = (ctx.progress or {}).get("replaced")
        return Switched(f"database {replaced}" if isinstance(replaced, str) else None)

    # --- what people and preflight are told -----------------------------------------------

    def written_since(self, entry: PostgresEntry, ctx: Context) -> list[str]:
        name = self.database.name
        if entry.content is None:
            return [f"database `{name}` did not exist then"]
        try:
            with self._server(ctx).connect(self._name) as connection:
                now = row_counts(connection)
        except DatabaseAbsent:
            return [f"database `{name}` does not exist any more"]
        then = {table: found.rows for table, found in entry.content.tables.items()}
        changed = [
            f"{name}.{table.removeprefix('public.')}: {then.get(table, 0)} rows then,"
            f" {now.get(table, 0)} now"
            for table in sorted(then.keys() | now.keys())
            if then.get(table) != now.get(table)
        ]
        more = len(changed) - _SHOWN_TABLES
        shown = changed[:_SHOWN_TABLES] + ([f"and {more} tables more"] if more > 0 else [])
        return shown or [f"database `{name}` has as many rows as then"]

    def schema_digest(self, ctx: Context) -> str:
        try:
            with self._server(ctx).connect(self._name) as connection, connection.transaction():
                return schema_digest(connection)
        except DatabaseAbsent:
            return ""

    def query(self, text: str, ctx: Context, *, timeout_s: float, at_most: int) -> list[Row]:
        try:
            with self._server(ctx, patience_s=timeout_s).connect(self._name) as connection:
                return postgres.query(connection, text, timeout_s=timeout_s, at_most=at_most)
        except DatabaseAbsent as error:
            raise Unfit(error.message) from error

    def missing_for_backup(self, ctx: Context) -> list[str]:
        return self._missing(ctx)

    def missing_for_restore(self, ctx: Context) -> list[str]:
        return self._missing(ctx)

    def _missing(self, ctx: Context) -> list[str]:
        try:
            server = self._server(ctx)
            with server.admin() as connection:
                row = connection.execute(
                    "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
                ).fetchone()
                missing = missing_programs(server, postgres.version_of(connection))
        except DatabaseAbsent:
            return []
        except StepError as error:
            return [error.message]
        if row and not row[0]:
            missing.append(f"PostgreSQL user `{self.database.user}` may not create databases")
        return missing

    def room_for_backup(self, ctx: Context) -> list[Room]:
        _, size_bytes = self._size(ctx)
        purpose = f"the backup of `{self._location}`"
        return [Room(place=ctx.state_dir, size_bytes=size_bytes, purpose=purpose)]

    def room_for_restore(self, phase: Phase, ctx: Context) -> list[Room]:
        place, size_bytes = self._size(ctx)
        if phase == "switch" or place is None:
            return []
        purpose = f"restoring `{self._location}`"
        return [Room(place=place, size_bytes=size_bytes, purpose=purpose)]

    def _size(self, ctx: Context) -> tuple[Path | None, int]:
        """Where the server's data lie, if on this machine, and how large the database is."""
        try:
            server = self._server(ctx)
            with server.admin() as connection:
                query = "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %s"
                row = connection.execute(query, [self._name]).fetchone()
        except StepError:
            return None, 0
        place = Path(server.data_dir) if server.data_dir else None
        return place if place and place.exists() else None, int(row[0]) if row else 0

    def query_by_hand(self) -> str:
        return f"{self._psql('psql')} {quote(self._name)} --command"

    def backup_by_hand(self) -> Sequence[str]:
        return [f"{self._psql('pg_dump')} --format=custom {quote(self._name)} > {self._name}.dump"]

    def restore_by_hand(self) -> Sequence[str]:
        name = quote(f"{self._name}__restored")
        return [
            f"{self._psql('createdb')} {name}",
            f"{self._psql('pg_restore')} --exit-on-error --dbname={name} < DUMP",
            f"{self._psql('psql')} postgres -c 'ALTER DATABASE … RENAME TO …'  # both, swapped",
        ]

    def _psql(self, program: str) -> str:
        if self.database.service:
            service = self.database.service.partition("/")[2]
            return f"docker compose exec -T {service} {program} --username={self.database.user}"
        return f"{program} --host={self.database.host} --username={self.database.user}"


def _succeed(command: Any, ctx: Context) -> None:
    ended = ctx.run(command)
    if ended.exit_code != 0:
        program = next((w for w in command.argv if "entrypoint" in w), command.argv[0])
        name = program.removeprefix("--entrypoint=")
        raise CommandFailed(
            f"`{name}` ended with exit code {ended.exit_code}, expected 0",
            where=name,
            changed=False,
            output_tail=ended.tail,
        )


def _mark_of(entry: PostgresEntry) -> str:
    """What the comment of a database says that holds exactly this backup."""
    digest = hashlib.sha256(entry.model_copy(update={"warm": None}).model_dump_json().encode())
    return f"runbook: restored from {digest.hexdigest()}"


def _is_marked(connection: "Connection[Any]", staged: str, entry: PostgresEntry) -> bool:
    query = (
        "SELECT shobj_description(oid, 'pg_database'), datallowconn FROM pg_database"
        " WHERE datname = %s"
    )
    row = connection.execute(query, [staged]).fetchone()
    return row is not None and row[0] == _mark_of(entry) and not row[1]


def _comment(connection: "Connection[Any]", database: str, comment: str | None) -> None:
    from psycopg.sql import SQL, Identifier, Literal

    statement = SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(Identifier(database), Literal(comment)))


def _rename(connection: "Connection[Any]", old: str, new: str) -> None:
    from psycopg.sql import SQL, Identifier

    statement = SQL("ALTER DATABASE {} RENAME TO {}")
    connection.execute(statement.format(Identifier(old), Identifier(new)))
