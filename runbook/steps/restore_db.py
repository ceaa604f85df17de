"""Put the database of the loaded restore point in the place of the live one."""

from collections.abc import Sequence

from runbook.core.plan import Effect, Rerun
from runbook.errors import Unfit
from runbook.kinds import (
    Context,
    Done,
    HalfDone,
    NotDone,
    Outputs,
    ProbeResult,
    Resource,
    Result,
    Spec,
    StepKind,
)
from runbook.resources import Database
from runbook.restore.choice import loaded_point
from runbook.restore.databases import Phase, Switched, way_of
from runbook.restore.manifest import AnyDatabaseEntry
from runbook.restore.point import RestorePoint


class RestoreDb(Spec):
    """Put the database of the loaded restore point in the place of the live one.

    It is staged beside the live one, compared with what was backed up, and put in place by one
    rename; what it replaces is kept, with all that was written since: an SQLite database in
    `replaced/` in the state directory. Stop what uses the database before the switch.

    Example:
        id: database
        uses: restore_db
        with: {database: db, phase: switch}
    """

    database: Resource[Database]
    """The database to restore."""
    phase: Phase = "all"
    """`stage` prepares while the live one still serves, `switch` puts in place what an earlier
    `stage` of this run has prepared, `all` does both."""


class RestoredDb(Outputs):
    """What was restored."""

    database: str
    """Name of the database."""
    phase: str
    """What was done: `stage`, `switch` or `all`."""
    point: str
    """The restore point's id."""
    absent: bool
    """Whether there was no database in the restore point; then nothing is done."""
    staged: str | None
    """Where the restored database was staged."""
    replaced: str | None
    """Where the replaced database lies now; none before the switch, or where there was none."""


def _run(spec: RestoreDb, ctx: Context) -> Result[RestoredDb]:
    point = loaded_point(ctx)
    entry = _entry(point, spec.database.name)
    if entry.absent:
        ctx.log(f"there was no database `{entry.location}` then; it is left as it is")
        return Result(_outputs(spec, point, absent=True), changed=False)
    way = way_of(spec.database)
    staged = _staged(spec, entry, ctx)
    if spec.phase != "stage" and (switched := way.switched(ctx)):
        return Result(_outputs(spec, point, staged=staged, switched=switched), changed=True)
    _warn(spec, ctx)
    if spec.phase != "switch":
        way.stage(staged, point.directory, entry, ctx)
        ctx.log(f"`{staged}` holds what was backed up")
    if spec.phase == "stage":
        return Result(_outputs(spec, point, staged=staged), changed=False)
    switched = way.switch(staged, point.directory, entry, ctx)
    return Result(_outputs(spec, point, staged=staged, switched=switched), changed=True)


def _preflight(spec: RestoreDb, ctx: Context) -> Sequence[str]:
    missing = way_of(spec.database).missing_for_restore(ctx)
    if spec.phase != "stage" and not missing:
        _warn(spec, ctx)
    return missing


def _warn(spec: RestoreDb, ctx: Context) -> None:
    for warning in way_of(spec.database).warnings(ctx):
        ctx.log(warning)


def _entry(point: RestorePoint, name: str) -> AnyDatabaseEntry:
    entry = point.manifest.database(name)
    if entry is None:
        raise Unfit(f"restore point `{point.id}` has no backup of `{name}`")
    return entry


def _outputs(
    spec: RestoreDb,
    point: RestorePoint,
    *,
    absent: bool = False,
    staged: str | None = None,
    switched: Switched | None = None,
) -> RestoredDb:
    return RestoredDb(
        database=spec.database.name,
        phase=spec.phase,
        point=point.id,
        absent=absent,
        staged=staged,
        replaced=switched.replaced if switched else None,
    )


def _staged(spec: RestoreDb, entry: AnyDatabaseEntry, ctx: Context) -> str:
    """Where the restored database is, or is to be, staged: one that is there already is used."""
    recorded = (ctx.progress or {}).get("staged")
    if isinstance(recorded, str):
        return recorded
    for step in reversed(ctx.completed):
        staged = step.outputs.get("staged")
        is_ours = step.kind == "restore_db" and step.outputs.get("database") == spec.database.name
        if spec.phase == "switch" and is_ours and isinstance(staged, str):
            return staged
    if spec.phase == "switch":
        raise Unfit(
            f"nothing has been staged for database `{spec.database.name}`",
            hint="put a `restore_db` step with `phase: stage` before this one, or use `phase: all`",
        )
    way = way_of(spec.database)
    return way.warm(entry, ctx) or way.staged_name(ctx.operation)


def _probe(spec: RestoreDb, ctx: Context) -> ProbeResult[RestoredDb]:
    point = loaded_point(ctx)
    entry = _entry(point, spec.database.name)
    if entry.absent:
        return NotDone("there was no database in the restore point")
    way, name = way_of(spec.database), spec.database.name
    staged = _staged(spec, entry, ctx)
    if spec.phase == "stage":
        if way.is_staged(staged, entry, ctx):
            return HalfDone(f"`{staged}` is whole and is yet to be compared")
        return NotDone(f"`{staged}` is not complete")
    if switched := way.switched(ctx):
        outputs = _outputs(spec, point, staged=staged, switched=switched)
        return Done(outputs, f"what was staged has taken the place of database `{name}`")
    return HalfDone(f"database `{name}` is still the old one")


def _describe(spec: RestoreDb) -> str:
    name = spec.database.name
    match spec.phase:
        case "stage":
            return f"stage database `{name}` of the restore point beside the live one"
        case "switch":
            return f"put the staged database in the place of `{name}`; keep the replaced one"
        case "all":
            return f"restore database `{name}` from the restore point; keep the replaced one"


STEP = StepKind(
    spec=RestoreDb,
    outputs=RestoredDb,
    effect=Effect.DESTROYS,
    rerun=Rerun.PROBE,
    describe=_describe,
    run=_run,
    probe=_probe,
    destroys="database",
    by_hand=lambda spec: way_of(spec.database).restore_by_hand(spec.phase),
    preflight=_preflight,
    room=lambda spec, ctx: way_of(spec.database).room_for_restore(spec.phase, ctx),
    timeout_s=3600.0,
)
