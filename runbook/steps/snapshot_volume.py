"""Take a snapshot of a directory or a Docker volume into the restore point of this run."""

from pydantic import Field

from runbook.core.plan import Effect, Rerun
from runbook.kinds import (
    Context,
    Done,
    NotDone,
    Outputs,
    ProbeResult,
    Resource,
    Result,
    Spec,
    StepKind,
)
from runbook.resources import AbsolutePath, FileTree
from runbook.restore.manifest import VolumeEntry
from runbook.restore.point import read_record, staging_dir, write_record
from runbook.restore.trees import Level, way_of
from runbook.tools.files import disk_errors


class SnapshotVolume(Spec):
    """Take a snapshot of a directory or a Docker volume into the restore point of this run.

    Files are cloned where the file system can and copied elsewhere, and recorded with their modes,
    owners, times, links and checksums. Files that nobody has touched since the last restore point
    are shared with it. What does not exist yet is recorded as absent.

    A volume's files are read where they lie by root on the engine's own machine, and else through
    the engine, which tells times to the second and no attributes but capabilities.

    Example:
        id: files
        uses: snapshot_volume
        with: {volume: uploads, level: live}
    """

    volume: Resource[FileTree]
    """The directory or volume to take a snapshot of."""
    level: Level
    """What its writers (`used_by`) do meanwhile. With `live`, a file that changes while it is read
    is read again; with the others that is an error. With `stopped`, a writer that runs is one, too.
    `paused` stops them in their tracks while the files are read, and lets them go on. A PostgreSQL
    server's own directory is refused `live`."""
    from_: AbsolutePath | None = Field(default=None, alias="from")
    """A tar archive, packed or not, that is made a snapshot in place of the live files."""


class Snapshot(Outputs):
    """What was taken."""

    path: str | None
    """Where the files lie, relative to the restore point; none where the directory is absent."""
    size_bytes: int
    """Size of all files together, in bytes."""
    file_count: int
    """How many files there are."""
    absent: bool
    """Whether the directory does not exist yet."""
    entry: VolumeEntry
    """All that the restore point records of it."""


def _outputs(entry: VolumeEntry) -> Snapshot:
    return Snapshot(
        path=entry.files or None,
        size_bytes=entry.size_bytes,
        file_count=entry.file_count,
        absent=entry.absent,
        entry=entry,
    )


def _run(spec: SnapshotVolume, ctx: Context) -> Result[Snapshot]:
    staging = staging_dir(ctx.state_dir, ctx.run_id)
    way = way_of(spec.volume)
    if spec.from_:
        entry = way.import_archive(spec.from_, staging, ctx)
    else:
        entry = way.take(spec.level, staging, ctx)
    with disk_errors("recording the snapshot", changed=False):
        write_record(staging, ctx.operation, entry)
    return Result(_outputs(entry), changed=False)


def _probe(spec: SnapshotVolume, ctx: Context) -> ProbeResult[Snapshot]:
    way_of(spec.volume).wake(ctx)
    recorded = read_record(staging_dir(ctx.state_dir, ctx.run_id), ctx.operation)
    if recorded is None:
        return NotDone(f"the snapshot of `{spec.volume.name}` is not complete")
    entry = VolumeEntry.model_validate_json(recorded)
    return Done(_outputs(entry), "the snapshot is complete", changed=False)


STEP = StepKind(
    spec=SnapshotVolume,
    outputs=Snapshot,
    effect=Effect.CHANGES,
    rerun=Rerun.PROBE,
    describe=lambda spec: f"take a snapshot of `{spec.volume.name}` ({spec.level})",
    run=_run,
    probe=_probe,
    backs_up="volume",
    by_hand=lambda spec: way_of(spec.volume).snapshot_by_hand(),
    preflight=lambda spec, ctx: way_of(spec.volume).missing_for_snapshot(spec.level, ctx),
    room=lambda spec, ctx: way_of(spec.volume).room_for_snapshot(ctx),
    timeout_s=3600.0,
)
