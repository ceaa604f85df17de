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
    return [
        point
        for point in points
        if point not in newest and _age_days(point, now) > (keep_days or 0)
    ]


def _age_days(point: RestorePoint, now: datetime) -> float:
    return (now - datetime.fromisoformat(point.manifest.created_at)) / timedelta(days=1)


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


def given_up(ctx: Context) -> list[Path]:
    """What is left of this project's that were given up, by whichever run, and of nobody's."""
    there = sorted(points_dir(ctx.state_dir).glob(f"{_PRUNING}*"))
    manifests = {directory: _manifest_of(directory) for directory in there}
    return [
        directory
        for directory, manifest in manifests.items()
        if manifest is None or manifest.project == ctx.project
    ]


def id_of(directory: Path) -> str:
    """The id that one had before it was given up."""
    return directory.name.removeprefix(_PRUNING)


def _manifest_of(directory: Path) -> Manifest | None:
    with suppress(FileNotFoundError, ValueError):
        return Manifest.model_validate_json((directory / MANIFEST).read_bytes())
    return None


def delete(directory: Path, ctx: Context) -> list[str]:
    """Delete one that was given up; what had to be left elsewhere, a line each.

    Raises:
        StepError: the disk refuses.
    """
    with disk_errors("deleting a restore point", changed=True):
        manifest = _manifest_of(directory)
        left = _delete_elsewhere(manifest, ctx) if manifest else []
        # Two runs of one project never meet; those of two may, over one whose manifest is gone.
        with suppress(FileNotFoundError):
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
