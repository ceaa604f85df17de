"""The way back of a PostgreSQL database: a dump of one snapshot, a database beside it, two renames.

At every instant the name is either the whole old or the whole restored database: both renames are
one transaction. What a restored database is, is noted as its comment, and nobody may connect to it
until it is live: so a later look need not read it again.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from runbook.errors import Absent, StepError, Unfit
from runbook.kinds import Context, Room
from runbook.resources import Postgres
from runbook.restore import postgres_by_hand as by_hand
from runbook.restore import postgres_hindrances, postgres_needs
from runbook.restore.databases import Phase, Row, Switched
from runbook.restore.manifest import PostgresEntry
from runbook.restore.postgres_backup import back_up
from runbook.restore.postgres_commands import succeed
from runbook.restore.postgres_mark import is_marked, mark_of
from runbook.tools import postgres
from runbook.tools.postgres import Server
from runbook.tools.postgres_content import content_of, schema_digest
from runbook.tools.postgres_dump import Programs, remove_containers
from runbook.tools.postgres_properties import creating, extensions_of, replay

if TYPE_CHECKING:
    from psycopg import Connection

_NAME_BYTES = 63
_LOOKING_S = 2.0
"""For a lock, where people are told something in the midst of an outage."""


@dataclass(frozen=True, slots=True)
class PostgresWay:
    """Satisfies `databases.DatabaseWay`."""

    database: Postgres

    @property
    def _name(self) -> str:
        return self.database.database

    @property
    def location(self) -> str:
        """Where the live one lies, for people."""
        at = self.database.service or f"{self.database.host}:{self.database.port}"
        return f"{at}/{self._name}"

    def reach(self, ctx: Context, *, patience_s: float = postgres.PATIENCE_S) -> Server:
        """The server, which runs once this returns."""
        return postgres.reach(
            self.database,
            ctx.resources,
            application=postgres.application_name(ctx.operation),
            check=ctx.check,
            log=ctx.log,
            patience_s=patience_s,
            lock_patience_s=max(1.0, min(postgres.PATIENCE_S, ctx.remaining_s() / 2)),
        )

    def _cleared(self, ctx: Context) -> Server:
        """The server, once nothing is at work there any more that a killed attempt has begun."""
        server = self.reach(ctx)
        if server.container_id is not None:
            remove_containers(ctx.operation)
        with server.admin() as connection:
            postgres.end_own_sessions(connection, server.application, sleep=ctx.sleep)
        return server

    @contextmanager
    def _admin(self, ctx: Context) -> "Iterator[Connection[Any]]":
        with self.reach(ctx).admin() as connection:
            yield connection

    # --- backing up -----------------------------------------------------------------------

    def back_up(self, staging: Path, ctx: Context) -> PostgresEntry:
        entry = PostgresEntry(
            name=self.database.name, location=self.location, taken_at=ctx.now().isoformat()
        )
        try:
            return back_up(self._name, self._cleared(ctx), entry, staging, ctx)
        except Absent as error:
            ctx.log(f"{error.message}: there is nothing to back up")
            return entry.model_copy(update={"absent": True})

    def import_dump(self, file: Path, staging: Path, ctx: Context) -> PostgresEntry:
        from runbook.restore.postgres_import import import_dump

        return import_dump(self.database, file, staging, ctx)

    def flaws(self, root: Path, entry: PostgresEntry, ctx: Context) -> list[str]:
        if entry.absent:
            return []
        server = self.reach(ctx)
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
            return is_marked(connection, staged, entry)

    def stage(self, staged: str, root: Path, entry: PostgresEntry, ctx: Context) -> None:
        assert entry.content is not None and entry.properties is not None
        if self.is_staged(staged, entry, ctx):
            return
        server = self._cleared(ctx)
        with server.admin() as admin:
            if problems := postgres_needs.obstacles(admin, entry):
                raise Unfit(
                    f"the backup cannot be restored there: {'; '.join(problems)}",
                    hint="give the server what it lacks, then resume",
                )
            version = postgres.version_of(admin)
            postgres.drop(admin, staged)
            admin.execute(creating(staged, entry.properties, version))
        try:
            programs = Programs(server=server, version=version, operation=ctx.operation)
            succeed(programs.restore(staged, root / entry.dump), ctx)
            self._compare(server, staged, entry, ctx)
        except StepError:
            self._drop_if_possible(staged, ctx)
            raise
        with server.admin() as admin:
            replay(admin, staged, entry.properties)
            postgres.allow_connections(admin, staged, allowed=False)
            postgres.comment(admin, staged, mark_of(entry, postgres.oid_of(admin, staged)))
        for subscription in entry.subscriptions:
            ctx.log(f"subscription `{subscription}` is not restored: create it anew")

    def _compare(self, server: Server, staged: str, entry: PostgresEntry, ctx: Context) -> None:
        assert entry.content is not None
        with server.connect(staged) as connection:
            connection.execute("ANALYZE")
            with connection.transaction():
                restored = content_of(connection, check=ctx.check)
                found = extensions_of(connection)
        if entry.content.form != restored.form:
            ctx.log("its fingerprint is of an older form: rows are counted, and not compared")
        if problems := entry.content.differences(restored):
            raise Unfit(
                f"`{entry.dump}` does not hold what was backed up: {'; '.join(problems[:3])}"
            )
        for name, version in entry.extensions.items():
            if found.get(name) != version:
                ctx.log(f"extension `{name}` was version {version}, is {found.get(name)} now")

    def _drop_if_possible(self, staged: str, ctx: Context) -> None:
        """After a failure, which must not be hidden by the server being down; it is tried again."""
        try:
            with self._admin(ctx) as connection:
                postgres.drop(connection, staged)
        except StepError as error:
            ctx.log(f"`{staged}` cannot be dropped yet: {error.message}")

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
        replaced = self._beside("old", ctx.operation)
        with self._cleared(ctx).admin() as connection:
            oid = postgres.oid_of(connection, staged)
            had_live = postgres.oid_of(connection, self._name) is not None
            ctx.record_progress(
                {"staged": staged, "oid": oid, "replaced": replaced if had_live else None}
            )
        kept = replaced if had_live else None
        try:
            with self._admin(ctx) as connection:
                self._swap(connection, staged, kept, entry, ctx)
        except StepError as error:
            comment = entry.properties.comment if entry.properties else None
            commands = by_hand.switching(self.database, staged, kept, comment)
            error.hint = f"`runbook resume`; or by hand: {' && '.join(commands)}"
            self._let_in_again_after(error, ctx)
            raise
        return self._kept(ctx)

    def _swap(
        self,
        connection: "Connection[Any]",
        staged: str,
        replaced: str | None,
        entry: PostgresEntry,
        ctx: Context,
    ) -> None:
        assert entry.properties is not None
        if replaced is not None:
            # Before the sessions end: pools come back at once.
            postgres.allow_connections(connection, self._name, allowed=False)
            postgres_hindrances.require_endable(connection, self.database, sleep=ctx.sleep)
            postgres.end_sessions(connection, self._name, sleep=ctx.sleep)
        with connection.transaction():
            if replaced is not None:
                postgres.rename(connection, self._name, replaced)
            postgres.rename(connection, staged, self._name)
            postgres.comment(connection, self._name, entry.properties.comment)
            postgres.allow_connections(connection, self._name, allowed=True)

    def switched(self, ctx: Context) -> Switched | None:
        """The staged database is known by its oid, which a rename leaves as it is."""
        oid = (ctx.progress or {}).get("oid")
        if oid is None:
            return None
        with self._cleared(ctx).admin() as connection:
            if postgres.oid_of(connection, self._name) == oid:
                return self._kept(ctx)
        self._let_in_again(ctx)
        return None

    def _let_in_again_after(self, error: StepError, ctx: Context) -> None:
        try:
            self._let_in_again(ctx)
        except StepError as refused:
            raise StepError(
                f"{error.message}; and nobody can connect to `{self._name}`: {refused.message}",
                hint=f"`runbook resume`; or by hand: {by_hand.opening(self.database)}",
            ) from error

    def _let_in_again(self, ctx: Context) -> None:
        """Where nothing was switched, the live database is open to everybody, as it was.

        Reached by a failure, by a probe before a resume, and by the probe of an abort.
        """
        with self._admin(ctx) as connection:
            if postgres.is_closed(connection, self._name):
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
            server = replace(self.reach(ctx), lock_patience_s=_LOOKING_S)
            with server.connect(self._name) as connection:
                return postgres_needs.written_since(connection, name, entry.content)
        except Absent:
            return [f"database `{name}` does not exist any more"]

    def obstacles(self, entry: PostgresEntry, ctx: Context) -> list[str]:
        if entry.absent:
            return []
        with self._admin(ctx) as connection:
            return postgres_needs.obstacles(connection, entry)

    def schema_digest(self, ctx: Context) -> str:
        try:
            with self.reach(ctx).connect(self._name) as connection, connection.transaction():
                return schema_digest(connection)
        except Absent:
            return ""

    def query(self, text: str, ctx: Context, *, timeout_s: float, at_most: int) -> list[Row]:
        try:
            server = self.reach(ctx, patience_s=timeout_s)
            # Who holds a lock is told before the time is over.
            server = replace(server, lock_patience_s=timeout_s * 0.9)
            with server.connect(self._name) as connection:
                return postgres.query(connection, text, timeout_s=timeout_s, at_most=at_most)
        except Absent as error:
            raise Unfit(error.message) from error

    def warnings(self, ctx: Context) -> list[str]:
        try:
            with self._admin(ctx) as connection:
                return postgres_hindrances.warnings(connection, self.database)
        except Absent:
            return []

    def missing_for_backup(self, ctx: Context) -> list[str]:
        return postgres_needs.missing(self.database, lambda: self.reach(ctx))

    def missing_for_restore(self, ctx: Context) -> list[str]:
        return self.missing_for_backup(ctx)

    def room_for_backup(self, ctx: Context) -> list[Room]:
        _, size_bytes = self._size(ctx)
        purpose = f"the backup of `{self.location}`"
        return [Room(place=ctx.state_dir, size_bytes=size_bytes, purpose=purpose)]

    def room_for_restore(self, phase: Phase, ctx: Context) -> list[Room]:
        place, size_bytes = self._size(ctx)
        if phase == "switch" or place is None:
            return []
        purpose = f"restoring `{self.location}`"
        return [Room(place=place, size_bytes=size_bytes, purpose=purpose)]

    def _size(self, ctx: Context) -> tuple[Path | None, int]:
        return postgres_needs.place_and_size(self._name, lambda: self.reach(ctx))

    def query_by_hand(self) -> str:
        return f"{by_hand.program(self.database, 'psql')} {quote(self._name)} --command"

    def backup_by_hand(self) -> Sequence[str]:
        return by_hand.backing_up(self.database)

    def restore_by_hand(self, phase: Phase) -> Sequence[str]:
        return by_hand.restoring(self.database, phase)
