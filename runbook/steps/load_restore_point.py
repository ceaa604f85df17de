"""Find the restore point that a rollback goes back to, and make sure that it is whole."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError, Unfit
from runbook.kinds import Context, Outputs, Spec, StepKind
from runbook.restore.manifest import DatabaseEntry, VolumeEntry
from runbook.restore.point import (
    RestorePoint,
    open_point,
    point_ids,
    read_inventory,
    require_intact,
)
from runbook.tools import sqlite
from runbook.tools.delta import compare
from runbook.tools.files import disk_errors
from runbook.units import format_duration


class LoadRestorePoint(Spec):
    """Find the restore point that a rollback goes back to, and make sure that it is whole.

    Every byte of it is read and compared. The steps after it that restore something use it.

    Example:
        id: point
        uses: load_restore_point
    """

    point: str | None = None
    """Id of the restore point; absent: the one that the undone run sealed."""


class LoadedPoint(Outputs):
    """The restore point."""

    id: str
    """Its id."""
    created_at: str
    """When it was sealed, UTC, ISO 8601."""
    commit: str | None
    """The git commit that was checked out then; none where none was recorded."""
    served: bool
    """Whether the project's processes were running then."""
    age_s: int
    """How long ago it was sealed, in seconds."""
    written_since: list[str]
    """What was written since, a line each, for people."""


def _run(spec: LoadRestorePoint, ctx: Context) -> LoadedPoint:
    point = open_point(ctx.state_dir, spec.point or _sealed_by_undone(ctx))
    manifest = point.manifest
    if manifest.project != ctx.project:
        raise Unfit(
            f"restore point `{point.id}` is of project `{manifest.project}`, not `{ctx.project}`",
            hint="name one of this project by `point`",
        )
    require_intact(point, check=ctx.check)
    age_s = max(0, int((ctx.now() - datetime.fromisoformat(manifest.created_at)).total_seconds()))
    ctx.log(f"restore point `{point.id}`, sealed {format_duration(age_s)} ago, is intact")
    written_since = _written_since(point)
    for line in written_since:
        ctx.log(line)
    return LoadedPoint(
        id=point.id,
        created_at=manifest.created_at,
        commit=manifest.commits[0].commit if manifest.commits else None,
        served=manifest.served,
        age_s=age_s,
        written_since=written_since,
    )


def _sealed_by_undone(ctx: Context) -> str:
    for step in reversed(ctx.undone.completed if ctx.undone else ()):
        identifier = step.outputs.get("id")
        if step.kind == "seal_restore_point" and isinstance(identifier, str):
            return identifier
    listed = ", ".join(reversed(point_ids(ctx.state_dir))) or "none yet"
    raise Unfit(
        "there is no undone run that has sealed a restore point",
        hint=f"name one by `point`; there are, newest first: {listed}",
    )


def _written_since(point: RestorePoint) -> list[str]:
    """What has changed since, for people; what cannot be told is said so, and stops nothing."""
    lines = []
    for database in point.manifest.databases:
        lines += _rows_since(database)
    for volume in point.manifest.volumes:
        lines += _files_since(point, volume)
    return lines


def _rows_since(entry: DatabaseEntry) -> list[str]:
    live = Path(entry.location).resolve()
    if entry.absent or entry.fingerprint is None:
        return [f"database `{entry.name}` did not exist then"]
    if not live.exists():
        return [f"database `{entry.name}` does not exist any more"]
    try:
        now = sqlite.row_counts(live)
    except StepError as error:
        return [f"what was written to database `{entry.name}` since cannot be told: {error}"]
    then = {table: found.rows for table, found in entry.fingerprint.tables.items()}
    changed = [
        f"{entry.name}.{table}: {then.get(table, 0)} rows then, {now.get(table, 0)} now"
        for table in sorted(then.keys() | now.keys())
        if then.get(table) != now.get(table)
    ]
    return changed or [f"database `{entry.name}` has as many rows as then"]


def _files_since(point: RestorePoint, entry: VolumeEntry) -> list[str]:
    if entry.absent:
        return [f"directory `{entry.name}` did not exist then"]
    inventory = read_inventory(point.directory, entry)
    try:
        with disk_errors(f"looking at `{entry.location}`", changed=False):
            tree = Path(entry.location).resolve()
            delta = compare(tree, inventory, check=lambda: None, reads_content=False)
    except StepError as error:
        return [f"what was written to directory `{entry.name}` since cannot be told: {error}"]
    count = len({*delta.written, *delta.extras})
    return [f"directory `{entry.name}`: {count} entries written, touched or deleted since"]


def _preflight(spec: LoadRestorePoint, ctx: Context) -> Sequence[str]:
    if spec.point is None:
        return []
    try:
        open_point(ctx.state_dir, spec.point)
    except Unfit as error:
        return [error.message]
    return []


STEP = StepKind(
    spec=LoadRestorePoint,
    outputs=LoadedPoint,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"load restore point {spec.point or 'of the undone run'}",
    run=_run,
    preflight=_preflight,
    timeout_s=3600.0,
)
