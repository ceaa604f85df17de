"""Back up a bucket into the restore point of this run."""

from runbook.core.plan import Effect, Rerun
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import S3
from runbook.restore import buckets
from runbook.restore.manifest import BucketEntry
from runbook.restore.point import staging_dir


class BackupBucket(Spec):
    """Back up a bucket into the restore point of this run.

    Of a versioned bucket the list of versions is all: nothing is copied, and the server has to keep
    them. Of another, also where versions are suspended, objects that have not changed since the
    last restore point are shared with it. A bucket that does not exist yet is recorded as absent.

    Example:
        id: objects
        uses: backup_bucket
        with: {bucket: bucket}
    """

    bucket: Resource[S3]
    """The bucket."""


class BucketBackup(Outputs):
    """What was backed up."""

    object_count: int
    """How many objects there are."""
    size_bytes: int
    """Size of all objects together, in bytes."""
    is_versioned: bool
    """Whether the server keeps the content."""
    absent: bool
    """Whether the bucket does not exist yet."""
    entry: BucketEntry
    """All that the restore point records of it."""


def _run(spec: BackupBucket, ctx: Context) -> Result[BucketBackup]:
    entry = buckets.snapshot(spec.bucket, staging_dir(ctx.state_dir, ctx.run_id), ctx)
    outputs = BucketBackup(
        object_count=entry.object_count,
        size_bytes=entry.size_bytes,
        is_versioned=entry.is_versioned,
        absent=entry.absent,
        entry=entry,
    )
    return Result(outputs, changed=False)


STEP = StepKind(
    spec=BackupBucket,
    outputs=BucketBackup,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"back up bucket `{spec.bucket.name}`",
    run=_run,
    backs_up="bucket",
    by_hand=lambda spec: [f"mc mirror --preserve ALIAS/{spec.bucket.bucket} {spec.bucket.name}"],
    preflight=lambda spec, ctx: buckets.missing_for(spec.bucket, ctx),
    room=lambda spec, ctx: buckets.room_for(spec.bucket, "the backup of", ctx),
    timeout_s=3600.0,
)
