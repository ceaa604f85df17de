"""Bring a directory back to what it was in the loaded restore point."""

from collections.abc import Sequence
from shlex import quote

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError, Unfit
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Directory
from runbook.restore.choice import loaded_point
from runbook.restore.manifest import VolumeEntry
from runbook.restore.point import RestorePoint, read_inventory, replaced_dir
from runbook.tools.archive import is_staged
from runbook.tools.delta import Restore
from runbook.tools.files import disk_errors, missing_room
from runbook.tools.inventory import content_bytes, scan


class RestoreVolume(Spec):
    """Bring a directory back to what it was in the loaded restore point.

    Only what differs is written. Every file that is overwritten or deleted is first copied to
    `replaced/` in the state directory. Stop what writes to the directory before.

    Example:
        id: files
        uses: restore_volume
        with: {volume: uploads}
    """

    volume: Resource[Directory]
    """The directory to bring back."""


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
        ctx.log(f"there was no directory `{spec.volume.path}` then; it is left as it is")
        return Result(_nothing(point, absent=True), changed=False)
    match spec.volume:
        case Directory() as directory:
            return _restore_directory(directory, point, entry, ctx)


def _entry(point: RestorePoint, name: str) -> VolumeEntry:
    entry = point.manifest.volume(name)
    if entry is None:
        raise Unfit(f"restore point `{point.id}` has no snapshot of `{name}`")
    return entry


def _nothing(point: RestorePoint, *, absent: bool) -> RestoredVolume:
    return RestoredVolume(
        point=point.id, written=0, removed=0, adjusted=0, replaced=None, absent=absent
    )


def _restore_directory(
    directory: Directory, point: RestorePoint, entry: VolumeEntry, ctx: Context
) -> Result[RestoredVolume]:
    tree = directory.path.resolve()
    if tree.exists() and not tree.is_dir():
        raise StepError(
            f"expected a directory, found a file: `{tree}`",
            hint="move it away, then `runbook resume`",
            changed=False,
        )
    kept = replaced_dir(ctx.state_dir, ctx.operation)
    done = Restore(
        tree=tree,
        wanted=read_inventory(point.directory, entry),
        files=point.directory / entry.files,
        kept=kept,
        operation=ctx.operation,
        check=ctx.check,
    ).run()
    has_kept = kept.exists() and any(kept.iterdir())
    ctx.log(f"{done.written} written, {done.removed} removed, {done.adjusted} adjusted")
    if has_kept:
        ctx.log(f"what was overwritten or deleted lies in `{kept}`")
    outputs = RestoredVolume(
        point=point.id,
        written=done.written,
        removed=done.removed,
        adjusted=done.adjusted,
        replaced=str(kept) if has_kept else None,
        absent=False,
    )
    # An attempt before this one may have done part of it: what it kept shows that it did.
    return Result(outputs, changed=done.is_change or has_kept)


def _by_hand(spec: RestoreVolume) -> Sequence[str]:
    name, path = spec.volume.name, quote(str(spec.volume.path))
    return [
        f"cp -a {path} {path}.replaced",
        f"rsync -a --delete --checksum RESTORE_POINT/volumes/{name}/files/ {path}/",
    ]


def _preflight(spec: RestoreVolume, ctx: Context) -> Sequence[str]:
    tree = spec.volume.path.resolve()
    if not tree.is_dir():
        return []
    with disk_errors(f"looking at `{tree}`", changed=False):
        found = scan(tree, ignored=is_staged, check=ctx.check)
    needed_bytes = content_bytes(found.values())
    return [
        *missing_room(tree, needed_bytes, f"restoring `{tree}`"),
        *missing_room(ctx.state_dir, needed_bytes, f"keeping what a restore of `{tree}` replaces"),
    ]


STEP = StepKind(
    spec=RestoreVolume,
    outputs=RestoredVolume,
    effect=Effect.DESTROYS,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"bring directory `{spec.volume.name}` back to the restore point",
    run=_run,
    destroys="volume",
    by_hand=_by_hand,
    preflight=_preflight,
    timeout_s=3600.0,
)
