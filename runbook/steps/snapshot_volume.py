"""Take a snapshot of a directory into the restore point of this run."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Literal

from runbook.core.plan import Effect, Rerun
from runbook.errors import Unfit
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
from runbook.resources import Directory
from runbook.restore.manifest import VolumeEntry
from runbook.restore.point import (
    artefact_of,
    newest_with_volume,
    read_inventory,
    read_record,
    staging_dir,
    write_record,
)
from runbook.tools.archive import Previous, is_staged, take_snapshot
from runbook.tools.files import (
    disk_errors,
    fsync_directory,
    make_directories,
    missing_room,
    write_durably,
)
from runbook.tools.inventory import EntryType, content_bytes, encode, scan, tree_sha256
from runbook.units import format_size


class SnapshotVolume(Spec):
    """Take a snapshot of a directory into the restore point of this run.

    Files are cloned where the file system can and copied elsewhere, and recorded with their modes,
    owners, times, links and checksums. Files that nobody has touched since the last restore point
    are shared with it. A directory that does not exist yet is recorded as absent.

    Example:
        id: files
        uses: snapshot_volume
        with: {volume: uploads, level: live}
    """

    volume: Resource[Directory]
    """The directory to take a snapshot of."""
    level: Literal["stopped", "paused", "live"]
    """What its writers do meanwhile. With `live`, a file that changes while it is read is read
    again; with the others that is an error. `paused` needs a directory with `used_by`."""


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
    entry = _take(spec, staging, ctx)
    with disk_errors("recording the snapshot", changed=False):
        write_record(staging, ctx.operation, entry)
    return Result(_outputs(entry), changed=False)


def _take(spec: SnapshotVolume, staging: Path, ctx: Context) -> VolumeEntry:
    match spec.volume:
        case Directory() as directory:
            return _take_directory(directory, spec.level, staging, ctx)


def _take_directory(directory: Directory, level: str, staging: Path, ctx: Context) -> VolumeEntry:
    entry = VolumeEntry(
        name=directory.name,
        location=str(directory.path),
        taken_at=ctx.now().isoformat(),
        level=level,
    )
    tree = directory.path.resolve()
    _require_fit(directory, tree, level)
    if not tree.exists():
        ctx.log(f"there is no directory `{tree}` yet")
        return entry.model_copy(update={"absent": True})
    home = staging / "volumes" / directory.name
    with disk_errors("taking a snapshot", changed=False):
        shutil.rmtree(home, ignore_errors=True)
        make_directories(home / "files")
    try:
        return _fill(entry, tree, staging, home, ctx)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _require_fit(directory: Directory, tree: Path, level: str) -> None:
    if level == "paused" and not directory.used_by:
        raise Unfit(
            f"nothing is known to write to directory `{directory.name}`, so nothing can be paused",
            hint="name its processes by `used_by`, or use `level: stopped` or `level: live`",
        )
    if tree.exists() and not tree.is_dir():
        raise Unfit(f"expected a directory, found a file: `{tree}`")


def _fill(entry: VolumeEntry, tree: Path, staging: Path, home: Path, ctx: Context) -> VolumeEntry:
    snapshot = take_snapshot(
        tree,
        home / "files",
        is_live=entry.level == "live",
        previous=_previous(entry.name, ctx),
        check=ctx.check,
    )
    with disk_errors("writing the inventory", changed=False):
        write_durably(home / "inventory.jsonl", encode(snapshot.inventory))
        fsync_directory(home.parent)
        artefact = artefact_of(staging, f"volumes/{entry.name}/inventory.jsonl")
    files = [e for e in snapshot.inventory.values() if e.type is EntryType.FILE]
    special = [e.path for e in snapshot.inventory.values() if e.type is EntryType.SPECIAL]
    size_bytes = content_bytes(files)
    shared = f", {snapshot.linked} of them shared with the last one" if snapshot.linked else ""
    ctx.log(f"{len(files)} files, {format_size(size_bytes)}{shared}")
    if special:
        ctx.log(f"sockets, pipes and devices hold no data and are only recorded: {special[:5]!r}")
    return entry.model_copy(
        update={
            "method": "reflink" if snapshot.has_clones else "copy",
            "inventory": artefact,
            "tree_sha256": tree_sha256(snapshot.inventory),
            "files": f"volumes/{entry.name}/files",
            "file_count": len(files),
            "size_bytes": size_bytes,
        }
    )


def _previous(name: str, ctx: Context) -> Previous | None:
    point = newest_with_volume(ctx.state_dir, ctx.project, name)
    entry = point.manifest.volume(name) if point is not None else None
    if point is None or entry is None:
        return None
    try:
        inventory = read_inventory(point.directory, entry)
    except Unfit:
        return None
    return Previous(inventory, point.directory / entry.files)


def _probe(spec: SnapshotVolume, ctx: Context) -> ProbeResult[Snapshot]:
    recorded = read_record(staging_dir(ctx.state_dir, ctx.run_id), ctx.operation)
    if recorded is None:
        return NotDone(f"the snapshot of `{spec.volume.name}` is not complete")
    entry = VolumeEntry.model_validate_json(recorded)
    return Done(_outputs(entry), "the snapshot is complete", changed=False)


def _by_hand(spec: SnapshotVolume) -> Sequence[str]:
    return [f"cp -a --reflink=auto {quote(str(spec.volume.path))} {spec.volume.name}"]


def _preflight(spec: SnapshotVolume, ctx: Context) -> Sequence[str]:
    tree = spec.volume.path.resolve()
    try:
        _require_fit(spec.volume, tree, spec.level)
    except Unfit as error:
        return [error.message]
    if not tree.exists():
        return []
    with disk_errors(f"looking at `{tree}`", changed=False):
        found = scan(tree, ignored=is_staged, check=ctx.check)
    needed_bytes = content_bytes(found.values())
    return missing_room(ctx.state_dir, needed_bytes, f"the snapshot of `{tree}`")


STEP = StepKind(
    spec=SnapshotVolume,
    outputs=Snapshot,
    effect=Effect.CHANGES,
    rerun=Rerun.PROBE,
    describe=lambda spec: f"take a snapshot of directory `{spec.volume.name}` ({spec.level})",
    run=_run,
    probe=_probe,
    backs_up="volume",
    by_hand=_by_hand,
    preflight=_preflight,
    timeout_s=3600.0,
)
