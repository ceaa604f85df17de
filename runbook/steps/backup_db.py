"""Back up a database into the restore point of this run."""

from pydantic import Field, TypeAdapter

from runbook.core.plan import Effect, Rerun
from runbook.kinds import Context, Done, NotDone, Outputs, ProbeResult, Resource, Spec, StepKind
from runbook.resources import AbsolutePath, Database
from runbook.restore.databases import way_of
from runbook.restore.manifest import AnyDatabaseEntry
from runbook.restore.point import read_record, staging_dir, write_record
from runbook.tools.files import disk_errors


class BackupDb(Spec):
    """Back up a database into the restore point of this run.

    One consistent snapshot, taken while the database is in use, checked and fingerprinted.
    A database that does not exist yet is recorded as absent.

    Example:
        id: dump
        uses: backup_db
        with: {database: db}
    """

    database: Resource[Database]
    """The database to back up."""
    from_: AbsolutePath | None = Field(default=None, alias="from")
    """A plain SQL dump, packed by gzip or not, that is made a backup in place of the live one."""


class Backup(Outputs):
    """What was backed up."""

    path: str | None
    """Where the copy lies, relative to the restore point; none where the database is absent."""
    size_bytes: int
    """Size of the copy on disk, in bytes."""
    absent: bool
    """Whether the database does not exist yet."""
    entry: AnyDatabaseEntry
    """All that the restore point records of it."""


def _outputs(entry: AnyDatabaseEntry) -> Backup:
    artefacts = entry.artefacts
    return Backup(
        path=artefacts[0].path if artefacts else None,
        size_bytes=sum(artefact.size_bytes for artefact in artefacts),
        absent=entry.absent,
        entry=entry,
    )


def _run(spec: BackupDb, ctx: Context) -> Backup:
    staging = staging_dir(ctx.state_dir, ctx.run_id)
    way = way_of(spec.database)
    entry = way.import_dump(spec.from_, staging, ctx) if spec.from_ else way.back_up(staging, ctx)
    with disk_errors("recording the backup", changed=False):
        write_record(staging, ctx.operation, entry)
    return _outputs(entry)


def _probe(spec: BackupDb, ctx: Context) -> ProbeResult[Backup]:
    recorded = read_record(staging_dir(ctx.state_dir, ctx.run_id), ctx.operation)
    if recorded is None:
        return NotDone(f"the backup of `{spec.database.name}` is not complete")
    entry = TypeAdapter(AnyDatabaseEntry).validate_json(recorded)
    return Done(_outputs(entry), "the backup is complete", changed=False)


STEP = StepKind(
    spec=BackupDb,
    outputs=Backup,
    effect=Effect.READS,
    rerun=Rerun.PROBE,
    describe=lambda spec: f"back up database `{spec.database.name}`",
    run=_run,
    probe=_probe,
    backs_up="database",
    by_hand=lambda spec: way_of(spec.database).backup_by_hand(),
    preflight=lambda spec, ctx: way_of(spec.database).missing_for_backup(ctx),
    room=lambda spec, ctx: way_of(spec.database).room_for_backup(ctx),
    timeout_s=3600.0,
)
