"""A plain SQL dump, as scripts make them by `pg_dump | gzip`, made into a backup like any other.

It is read for what would act on the live one, and then loaded into a database beside it, up to the
first error; and that is backed up.
"""

import gzip
import shutil
import zlib
from pathlib import Path

from runbook.errors import Unfit
from runbook.kinds import Context
from runbook.resources import Postgres
from runbook.restore.manifest import PostgresEntry
from runbook.restore.postgres import PostgresWay
from runbook.restore.postgres_commands import succeed
from runbook.restore.postgres_mark import without_mark
from runbook.tools import postgres
from runbook.tools.files import disk_errors, make_directories
from runbook.tools.plain_dump import forbidden_in
from runbook.tools.postgres_dump import Programs
from runbook.tools.postgres_properties import creating, properties_of


def import_dump(database: Postgres, file: Path, staging: Path, ctx: Context) -> PostgresEntry:
    """The backup that a dump of that database holds; the live one is only looked at.

    Raises:
        Unfit: the dump is truncated, damaged, not to be loaded into this server, or would act on
            more than one database.
    """
    way = PostgresWay(database)
    side = way.staged_name(f"import {ctx.operation}")
    script = staging / "databases" / f"{database.name}.sql"
    with disk_errors("unpacking the dump", changed=False):
        make_directories(script.parent)
        _unpack(file, script)
        _require_harmless(file, script, ctx)
    server = way.reach(ctx)
    try:
        with server.admin() as admin:
            properties = without_mark(properties_of(admin, database.database))
            version = postgres.version_of(admin)
            postgres.drop(admin, side)
            admin.execute(creating(side, properties, version))
        programs = Programs(server=server, version=version, operation=ctx.operation)
        succeed(programs.load(side, script), ctx)
        beside = PostgresWay(database.model_copy(update={"database": side}))
        entry = beside.back_up(staging, ctx)
    finally:
        with server.admin() as admin:
            postgres.drop(admin, side)
        script.unlink(missing_ok=True)
    ctx.log(f"`{file}` is imported")
    return entry.model_copy(update={"location": way.location, "properties": properties})


def _require_harmless(file: Path, script: Path, ctx: Context) -> None:
    """Raises Unfit where it would act on more than the database that it is loaded into."""
    with script.open("rb") as plain:
        found = forbidden_in(plain, check=ctx.check)
    if found:
        script.unlink()
        raise Unfit(
            f"dump `{file}` would act on more than the database beside the live one:"
            f" {'; '.join(map(str, found))}",
            hint="take such lines out of a copy of it, or dump that one database anew, without"
            " `--create`: `pg_dump DATABASE | gzip > FILE`",
        )


def _unpack(file: Path, target: Path) -> None:
    try:
        if file.suffix != ".gz":
            shutil.copyfile(file, target)
            return
        with gzip.open(file, "rb") as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    except FileNotFoundError:
        raise Unfit(f"there is no dump `{file}`") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        target.unlink()
        raise Unfit(f"dump `{file}` is damaged: {error}") from error
