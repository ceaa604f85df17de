"""Which restore points are too old to keep, and how one is deleted with all that belongs to it.

A restore point is given up by one rename, to `.pruning-<id>`: from then on nothing restores from
it. What belongs to it elsewhere is deleted next, its manifest, which tells what that is, last.
"""

import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from runbook.errors import StepError, StepStopped, TimedOut, Unfit
from runbook.kinds import Context
from runbook.restore import images
from runbook.restore.databases import way_of
from runbook.restore.manifest import DatabaseEntry, Manifest
from runbook.restore.point import MANIFEST, RestorePoint, open_point, point_ids, points_dir
from runbook.tools.files import disk_errors, fsync_directory

_PRUNING = ".pruning-"


def overdue(
    points: Sequence[RestorePoint], now: datetime, *, keep_last: int | None, keep_days: int | None
) -> list[RestorePoint]:
    """Of restore points, oldest first, those that neither rule keeps; never the newest."""
    newest = points[-max(keep_last or 0, 1) :]
    oldest_kept = now - timedelta(days=keep_days) if keep_days is not None else now
    return [
        point
        for point in points
        if point not in newest and datetime.fromisoformat(point.manifest.created_at) < oldest_kept
    ]


def own_points(ctx: Context) -> list[RestorePoint]:
    """Those of this project, oldest first; a damaged one is nobody's."""
    found = []
    for identifier in point_ids(ctx.state_dir):
        with suppress(Unfit):
            found.append(open_point(ctx.state_dir, identifier))
    return [point for point in found if point.manifest.project == ctx.project]


def is_in_use(point: RestorePoint, needed: Collection[str], ctx: Context) -> bool:
    """Whether a run that is not finished needs it, or it is a warm way back."""
    return point.id in needed or any(_is_warm(entry, ctx) for entry in point.manifest.databases)


def _is_warm(entry: DatabaseEntry, ctx: Context) -> bool:
    database = ctx.resources.get(entry.name)
    if entry.warm is None or database is None:
        return False
    try:
        return way_of(database).has_staged(entry.warm, ctx)
    except (StepStopped, TimedOut):
        raise
    except StepError as error:
        ctx.log(f"whether `{entry.warm}` is there cannot be told: {error.message}")
        return True


def give_up(point: RestorePoint) -> None:
    """Take a restore point its name away; durable once this returns.

    Raises:
        StepError: the disk refuses.
    """
    parent = point.directory.parent
    with disk_errors("giving up a restore point", changed=True):
        point.directory.rename(parent / f"{_PRUNING}{point.id}")
        fsync_directory(parent)


def given_up(state_dir: Path) -> list[Path]:
    """What is left of those that were given up, by whichever run."""
    return sorted(points_dir(state_dir).glob(f"{_PRUNING}*"))


def delete(directory: Path, ctx: Context) -> list[str]:
    """Delete one that was given up; what had to be left elsewhere, a line each.

    Raises:
        StepError: the disk refuses.
    """
    left: list[str] = []
    with disk_errors("deleting a restore point", changed=True):
        with suppress(FileNotFoundError, ValueError):
            manifest = Manifest.model_validate_json((directory / MANIFEST).read_bytes())
            left = _delete_elsewhere(manifest, ctx)
        for entry in directory.iterdir():
            ctx.check()
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
        shutil.rmtree(directory)
        fsync_directory(directory.parent)
    return left


def _delete_elsewhere(manifest: Manifest, ctx: Context) -> list[str]:
    left = [line for stack in manifest.images for line in images.release(stack)]
    left += [
        f"database `{entry.warm}`, restored beside `{entry.location}`"
        for entry in manifest.databases
        if entry.warm is not None and entry.name not in ctx.resources
    ]
    return left
