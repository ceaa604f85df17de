"""Bring a bucket back to what it was in the loaded restore point."""

from runbook.core.plan import Effect, Rerun
from runbook.errors import Unfit
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import S3
from runbook.restore import bucket_restore, buckets
from runbook.restore.choice import loaded_point


class RestoreBucket(Spec):
    """Bring a bucket back to what it was in the loaded restore point.

    Only what differs is written, with its headers, metadata and tags, and compared at the end. A
    versioned bucket does it by itself, from its own versions, and deletes nothing for good; of
    another, what is overwritten or deleted is first copied to `replaced/` in the state directory.
    What it was stands there in `objects.jsonl`.

    Example:
        id: objects
        uses: restore_bucket
        with: {bucket: bucket}
    """

    bucket: Resource[S3]
    """The bucket."""


class RestoredBucket(Outputs):
    """What was brought back."""

    point: str
    """The restore point's id."""
    written: int
    """Objects that were written again."""
    removed: int
    """Objects that were not there then."""
    replaced: str | None
    """Where the list of what was overwritten or deleted lies now; none where nothing was."""
    absent: bool
    """Whether there was no bucket in the restore point; then nothing is done."""


def _run(spec: RestoreBucket, ctx: Context) -> Result[RestoredBucket]:
    point = loaded_point(ctx)
    entry = point.manifest.bucket(spec.bucket.name)
    if entry is None:
        raise Unfit(f"restore point `{point.id}` has no backup of bucket `{spec.bucket.name}`")
    done = bucket_restore.BroughtBack()
    if entry.absent:
        ctx.log(f"there was no bucket `{entry.location}` then; it is left as it is")
    else:
        done = bucket_restore.restore(spec.bucket, point, entry, ctx)
    outputs = RestoredBucket(
        point=point.id,
        written=done.written,
        removed=done.removed,
        replaced=done.replaced,
        absent=entry.absent,
    )
    return Result(outputs, changed=bool(done.written or done.removed or done.replaced))


STEP = StepKind(
    spec=RestoreBucket,
    outputs=RestoredBucket,
    effect=Effect.DESTROYS,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"bring bucket `{spec.bucket.name}` back to the restore point",
    run=_run,
    destroys="bucket",
    by_hand=lambda spec: [f"mc mirror --overwrite --remove DIR ALIAS/{spec.bucket.bucket}"],
    preflight=lambda spec, ctx: buckets.missing_for(spec.bucket, ctx),
    room=lambda spec, ctx: buckets.room_for(spec.bucket, "keeping what a restore replaces of", ctx),
    timeout_s=3600.0,
)
