"""Back up a database into the restore point of this run."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError
from runbook.kinds import Context, Done, NotDone, Outputs, ProbeResult, Resource, Spec, StepKind
from runbook.resources import Sqlite
from runbook.restore.manifest import DatabaseEntry
from runbook.restore.point import artefact_of, read_record, staging_dir, write_record
from runbook.tools import sqlite
from runbook.tools.files import (
    disk_errors,
    fsync_directory,
    make_directories,
    missing_room,
    part_of,
)


class BackupDb(Spec):
    """Back up a database into the restore point of this run.

    One consistent snapshot, taken while the database is in use, checked and fingerprinted.
    A database that does not exist yet is recorded as absent.

    Example:
        id: dump
        uses: backup_db
        with: {database: db}
    """

    database: Resource[Sqlite]
    """The database to back up."""


class Backup(Outputs):
    """What was backed up."""

    path: str | None
    """Where the copy lies, relative to the restore point; none where the database is absent."""
    size_bytes: int
    """Size of the copy on disk, in bytes."""
    absent: bool
    """Whether the database does not exist yet."""
    entry: DatabaseEntry
    """All that the restore point records of it."""


def _outputs(entry: DatabaseEntry) -> Backup:
    artefact = entry.artefact
    return Backup(
        path=artefact.path if artefact else None,
        size_bytes=artefact.size_bytes if artefact else 0,
        absent=entry.absent,
        entry=entry,
    )


def _run(spec: BackupDb, ctx: Context) -> Backup:
    staging = staging_dir(ctx.state_dir, ctx.run_id)
    entry = _back_up(spec, staging, ctx)
    with disk_errors("recording the backup", changed=False):
        write_record(staging, ctx.operation, entry)
    return _outputs(entry)


def _back_up(spec: BackupDb, staging: Path, ctx: Context) -> DatabaseEntry:
    match spec.database:
        case Sqlite() as database:
            return _back_up_sqlite(database, staging, ctx)


def _back_up_sqlite(database: Sqlite, staging: Path, ctx: Context) -> DatabaseEntry:
    live = database.path.resolve()
    entry = DatabaseEntry(
        name=database.name, location=str(database.path), taken_at=ctx.now().isoformat()
    )
    if not sqlite.is_there(live):
        ctx.log(f"there is no database `{live}` yet")
        return entry.model_copy(update={"absent": True})
    target = staging / "databases" / f"{database.name}.sqlite"
    part = part_of(target)
    with disk_errors("backing up the database", changed=False):
        make_directories(target.parent)
        part.unlink(missing_ok=True)
        status = live.stat()
        try:
            fingerprint = sqlite.back_up(
                live, part, timeout_s=min(30.0, ctx.remaining_s()), check=ctx.check
            )
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
        fsync_directory(target.parent)
        artefact = artefact_of(staging, f"databases/{target.name}")
    rows = sum(table.rows for table in fingerprint.tables.values())
    ctx.log(f"{len(fingerprint.tables)} tables, {rows} rows, {artefact.size_bytes} bytes")
    return entry.model_copy(
        update={
            "artefact": artefact,
            "fingerprint": fingerprint,
            "mode": f"{status.st_mode & 0o7777:04o}",
            "uid": status.st_uid,
            "gid": status.st_gid,
        }
    )


def _probe(spec: BackupDb, ctx: Context) -> ProbeResult[Backup]:
    recorded = read_record(staging_dir(ctx.state_dir, ctx.run_id), ctx.operation)
    if recorded is None:
        return NotDone(f"the backup of `{spec.database.name}` is not complete")
    entry = DatabaseEntry.model_validate_json(recorded)
    return Done(_outputs(entry), "the backup is complete", changed=False)


def _by_hand(spec: BackupDb) -> Sequence[str]:
    path = quote(str(spec.database.path))
    return [f"sqlite3 {path} \".backup '{spec.database.name}.sqlite'\""]


def _preflight(spec: BackupDb, ctx: Context) -> Sequence[str]:
    live = spec.database.path.resolve()
    try:
        if not sqlite.is_there(live):
            return []
        sqlite.require_readable(live)
    except StepError as error:
        return [error.message]
    return missing_room(ctx.state_dir, sqlite.size_bytes(live), f"the backup of `{live}`")


STEP = StepKind(
    spec=BackupDb,
    outputs=Backup,
    effect=Effect.READS,
    rerun=Rerun.PROBE,
    describe=lambda spec: f"back up database `{spec.database.name}`",
    run=_run,
    probe=_probe,
    backs_up="database",
    by_hand=_by_hand,
    preflight=_preflight,
    timeout_s=3600.0,
)
