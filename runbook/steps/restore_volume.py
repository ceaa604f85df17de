"""Bring a directory or a Docker volume back to what it was in the loaded restore point."""

from runbook.core.plan import Effect, Rerun
from runbook.errors import Unfit
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import FileTree
from runbook.restore.choice import loaded_point
from runbook.restore.manifest import VolumeEntry
from runbook.restore.point import RestorePoint
from runbook.restore.trees import BroughtBack, way_of
from runbook.tools import halted


class RestoreVolume(Spec):
    """Bring a directory or a Docker volume back to what it was in the loaded restore point.

    Only what differs is written. Every file that is overwritten or deleted is first copied to
    `replaced/` in the state directory. Containers that mount a volume are
    stopped meanwhile; stop the processes that write to a directory before. Without root, or on an
    engine elsewhere, a helper container does it, of an image with a shell that is there.

    Example:
        id: files
        uses: restore_volume
        with: {volume: uploads}
    """

    volume: Resource[FileTree]
    """The directory or volume to bring back."""


class RestoredVolume(Outputs):
    """What was brought back."""

    point: str
    """The restore point's id."""
    written: int
    """Entries whose content was written."""
    removed: int
    """Entries that were not in the snapshot."""
    adjusted: int
    """Entries of which only mode, owner or times were set."""
    replaced: str | None
    """Where what was overwritten or deleted lies now; none where nothing was."""
    absent: bool
    """Whether there was no directory in the restore point; then nothing is done."""


def _run(spec: RestoreVolume, ctx: Context) -> Result[RestoredVolume]:
    point = loaded_point(ctx)
    entry = _entry(point, spec.volume.name)
    if entry.absent:
        ctx.log(f"there was no `{entry.location}` then; it is left as it is")
        return Result(_outputs(point, BroughtBack(), absent=True), changed=False)
    done = way_of(spec.volume).restore(point, entry, ctx)
    return Result(_outputs(point, done, absent=False), changed=done.changed)


def _entry(point: RestorePoint, name: str) -> VolumeEntry:
    entry = point.manifest.volume(name)
    if entry is None:
        raise Unfit(f"restore point `{point.id}` has no snapshot of `{name}`")
    return entry


def _outputs(point: RestorePoint, done: BroughtBack, *, absent: bool) -> RestoredVolume:
    return RestoredVolume(
        point=point.id,
        written=done.written,
        removed=done.removed,
        adjusted=done.adjusted,
        replaced=done.replaced,
        absent=absent,
    )


STEP = StepKind(
    spec=RestoreVolume,
    outputs=RestoredVolume,
    effect=Effect.DESTROYS,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"bring `{spec.volume.name}` back to the restore point",
    run=_run,
    destroys="volume",
    by_hand=lambda spec: way_of(spec.volume).restore_by_hand(),
    preflight=lambda spec, ctx: way_of(spec.volume).missing_for_restore(ctx),
    room=lambda spec, ctx: way_of(spec.volume).room_for_restore(ctx),
    timeout_s=3600.0,
    after_abort=halted.to_start_again,
)
