"""Delete restore points that are too old to keep.

docs/adr/0025-restore-points-are-pruned-by-a-step.md says what is never deleted.
"""

from pathlib import Path

from runbook.core.plan import Effect, Rerun
from runbook.field_rules import rule, rules
from runbook.kinds import Context, Outputs, Result, Spec, StepKind
from runbook.resources import Natural, Positive
from runbook.restore import retention


class Prune(Spec):
    """Delete restore points that are too old to keep, of this project only.

    One is kept if either rule keeps it. Never deleted are the newest, those that a run which is not
    finished may go back to, and those whose databases lie restored beside the live ones.
    What restores have replaced is no restore point: it stays.

    Example:
        id: prune
        uses: prune
        with: {keep_last: 3, keep_days: 7}
    """

    model_config = rules(
        rule(
            "expected `keep_last` or `keep_days`",
            {"anyOf": [{"required": ["keep_last"]}, {"required": ["keep_days"]}]},
        )
    )

    keep_last: Positive | None = None
    """So many of the newest are kept."""
    keep_days: Natural | None = None
    """Those that are no older than so many days are kept."""


class Pruned(Outputs):
    """What was deleted."""

    deleted: list[str]
    """Ids of the restore points that are gone."""
    kept: list[str]
    """Ids of those that are still there, oldest first."""
    left: list[str]
    """What belonged to those that are gone and could not be deleted, a line each."""


def _run(spec: Prune, ctx: Context) -> Result[Pruned]:
    needed = ctx.needed_points
    overdue = retention.overdue(
        retention.own_points(ctx), ctx.now(), keep_last=spec.keep_last, keep_days=spec.keep_days
    )
    doomed = [point for point in overdue if not retention.is_in_use(point, needed, ctx)]
    begun = (ctx.progress or {}).get("deleting")
    names = [str(name) for name in begun] if isinstance(begun, list) else []
    names = list(dict.fromkeys([*names, *(point.id for point in doomed)]))
    ctx.record_progress({"deleting": [*names]})
    for point in doomed:
        ctx.check()
        retention.give_up(point)
    left = [line for each in retention.given_up(ctx) for line in _delete(each, ctx)]
    kept = [point.id for point in retention.own_points(ctx)]
    deleted = [name for name in names if name not in kept]
    return Result(Pruned(deleted=deleted, kept=kept, left=left), bool(deleted))


def _delete(directory: Path, ctx: Context) -> list[str]:
    left = retention.delete(directory, ctx)
    ctx.log(f"deleted `{retention.id_of(directory)}`")
    for line in left:
        ctx.log(f"left: {line}")
    return left


def _describe(spec: Prune) -> str:
    kept = [f"the newest {spec.keep_last}"] if spec.keep_last else ["the newest"]
    kept += [f"those of the last {spec.keep_days} days"] if spec.keep_days is not None else []
    return f"delete restore points but {' and '.join(kept)}"


STEP = StepKind(
    spec=Prune,
    outputs=Pruned,
    effect=Effect.READS,  # of the system: it deletes what is ours, and stands in no rollback's way
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    timeout_s=3600.0,
)
