"""Find the restore point that a rollback goes back to, and make sure that it is whole."""

from collections.abc import Sequence
from datetime import datetime

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError, StepStopped, TimedOut, Unfit
from runbook.kinds import Context, Outputs, Spec, StepKind
from runbook.resources import Compose
from runbook.restore import buckets, images
from runbook.restore.choice import sealed_by
from runbook.restore.databases import way_of
from runbook.restore.manifest import BucketEntry
from runbook.restore.point import (
    RestorePoint,
    damaged,
    listed_hint,
    open_point,
    point_ids,
    require_intact,
)
from runbook.restore.since import written_since
from runbook.units import format_duration

_LAST_RESORT = (
    "nothing was changed; `docker load` them, or as a last resort let them be built from source:"
    " --set build=true, where the runbook has that input"
)


class LoadRestorePoint(Spec):
    """Find the restore point that a rollback goes back to, and make sure that it is whole.

    Every byte of it is read and compared. The steps after it that restore something use it.

    Example:
        id: point
        uses: load_restore_point
    """

    point: str | None = None
    """Id of the restore point; absent: the one that the undone run sealed."""
    build: bool = False
    """Whether images will be built from source, the last resort: then none need be here."""


class LoadedPoint(Outputs):
    """The restore point."""

    id: str
    """Its id."""
    created_at: str
    """When it was sealed, UTC, ISO 8601."""
    commit: str | None
    """The git commit that was checked out then; none where none was recorded."""
    has_images: bool
    """Whether it names the images that ran."""
    build: bool
    """Whether images are to be built from source: `build` says so, or a stack ran and the restore
    point names none of its images."""
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
    for entry in manifest.buckets:
        if flaws := buckets.problems(point.directory, entry, check=ctx.check):
            raise damaged(point.id, flaws)
    gone = [] if spec.build else [e for stack in manifest.images for e in images.missing(stack)]
    if problems := [*gone, *_obstacles(point, ctx)]:
        raise Unfit(
            f"restore point `{point.id}` cannot be used: {'; '.join(problems)}",
            hint=_LAST_RESORT if gone else None,
        )
    has_images = any(stack.images for stack in manifest.images)
    has_stack = any(isinstance(each, Compose) for each in ctx.resources.values())
    builds = spec.build or (has_stack and manifest.served and not has_images)
    age_s = max(0, int((ctx.now() - datetime.fromisoformat(manifest.created_at)).total_seconds()))
    ctx.log(f"restore point `{point.id}`, sealed {format_duration(age_s)} ago, is intact")
    if builds:
        ctx.log("images are to be built from source, which may give others than those that ran")
    since = written_since(point, ctx)
    for line in since:
        ctx.log(line)
    return LoadedPoint(
        id=point.id,
        created_at=manifest.created_at,
        commit=manifest.commits[0].commit if manifest.commits else None,
        has_images=has_images,
        build=builds,
        served=manifest.served,
        age_s=age_s,
        written_since=since,
    )


def _obstacles(point: RestorePoint, ctx: Context) -> list[str]:
    """What keeps the servers from taking the backups, as far as they answer."""
    found = []
    for entry in [*point.manifest.databases, *point.manifest.buckets]:
        resource = ctx.resources.get(entry.name)
        if resource is None:
            continue
        try:
            if isinstance(entry, BucketEntry):
                found += buckets.obstacles(resource, point.directory, entry, ctx)
            else:
                obstacles = way_of(resource).obstacles(entry, ctx)
                found += [f"database `{entry.name}`: {obstacle}" for obstacle in obstacles]
        except (StepStopped, TimedOut):
            raise
        except StepError as error:
            ctx.log(f"`{entry.name}` cannot be asked: {error.message}")
    return found


def _sealed_by_undone(ctx: Context) -> str:
    identifier = sealed_by(ctx.undone.completed) if ctx.undone else None
    if identifier is not None:
        return identifier
    raise Unfit(
        "there is no undone run that has sealed a restore point",
        hint=f"name one by `point`; {listed_hint(point_ids(ctx.state_dir))}",
    )


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
