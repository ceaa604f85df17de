"""Put the database of the loaded restore point in the place of the live one."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Literal

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError, Unfit
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
from runbook.resources import Sqlite
from runbook.restore.choice import loaded_point
from runbook.restore.manifest import DatabaseEntry
from runbook.restore.point import RestorePoint, replaced_dir
from runbook.restore.warm import is_intact, stage, staged_beside
from runbook.tools import sqlite
from runbook.tools.files import (
    copy_durably,
    disk_errors,
    fsync_directory,
    make_directories,
    missing_room,
    sha256_of,
)


class RestoreDb(Spec):
    """Put the database of the loaded restore point in the place of the live one.

    It is staged beside the live one, compared with what was backed up, and put in place by one
    rename; what it replaces is kept in `replaced/` in the state directory, with all that was
    written since. Stop what uses the database before the switch.

    Example:
        id: database
        uses: restore_db
        with: {database: db, phase: switch}
    """

    database: Resource[Sqlite]
    """The database to restore."""
    phase: Literal["stage", "switch", "all"] = "all"
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
        ctx.log(f"there was no database `{spec.database.path}` then; it is left as it is")
        return Result(_outputs(spec, point, absent=True), changed=False)
    match spec.database:
        case Sqlite() as database:
            return _restore_sqlite(spec, database.path.resolve(), point, entry, ctx)


def _entry(point: RestorePoint, name: str) -> DatabaseEntry:
    entry = point.manifest.database(name)
    if entry is None:
        raise Unfit(f"restore point `{point.id}` has no backup of `{name}`")
    return entry


def _outputs(
    spec: RestoreDb,
    point: RestorePoint,
    *,
    absent: bool = False,
    staged: Path | None = None,
    replaced: Path | None = None,
) -> RestoredDb:
    return RestoredDb(
        database=spec.database.name,
        phase=spec.phase,
        point=point.id,
        absent=absent,
        staged=str(staged) if staged else None,
        replaced=str(replaced) if replaced and replaced.exists() else None,
    )


def _restore_sqlite(
    spec: RestoreDb, live: Path, point: RestorePoint, entry: DatabaseEntry, ctx: Context
) -> Result[RestoredDb]:
    kept = replaced_dir(ctx.state_dir, ctx.operation)
    staged = _staged(spec, live, entry, ctx)
    if spec.phase != "stage" and _is_switched(live, ctx):
        with disk_errors("restoring the database", changed=True):
            fsync_directory(live.parent)
        return Result(_outputs(spec, point, staged=staged, replaced=kept / live.name), changed=True)
    assert entry.artefact is not None
    with disk_errors("restoring the database", changed=False):
        make_directories(live.parent, mode=0o755)
    stage(point.directory / entry.artefact.path, staged, entry)
    ctx.log(f"`{staged}` holds what was backed up")
    if spec.phase == "stage":
        return Result(_outputs(spec, point, staged=staged), changed=False)
    _switch(live, staged, kept, ctx)
    return Result(_outputs(spec, point, staged=staged, replaced=kept / live.name), changed=True)


def _staged(spec: RestoreDb, live: Path, entry: DatabaseEntry, ctx: Context) -> Path:
    """Where the restored database is, or is to be, staged: one that is there already is used."""
    recorded = (ctx.progress or {}).get("staged")
    if isinstance(recorded, str):
        return Path(recorded)
    for step in reversed(ctx.completed):
        path = step.outputs.get("staged")
        is_ours = step.kind == "restore_db" and step.outputs.get("database") == spec.database.name
        if spec.phase == "switch" and is_ours and isinstance(path, str):
            return Path(path)
    if spec.phase == "switch":
        raise Unfit(
            f"nothing has been staged for database `{spec.database.name}`",
            hint="put a `restore_db` step with `phase: stage` before this one, or use `phase: all`",
        )
    warm = Path(entry.warm) if entry.warm else None
    if warm is not None and warm.parent == live.parent and is_intact(warm, entry):
        return warm
    return staged_beside(live, ctx.operation)


def _is_switched(live: Path, ctx: Context) -> bool:
    """Whether the file that was staged, known by its inode, has the live one's name by now."""
    inode = (ctx.progress or {}).get("inode")
    return isinstance(inode, int) and live.exists() and live.stat().st_ino == inode


def _switch(live: Path, staged: Path, kept: Path, ctx: Context) -> None:
    ctx.record_progress({"staged": str(staged), "inode": staged.stat().st_ino})
    if live.exists():
        _require_unused(live)
        _settle(live, ctx)
        with disk_errors("keeping the database that will be replaced", changed=False):
            make_directories(kept)
            kept_as = _keep(live, kept)
        ctx.log(f"the replaced database is kept as `{kept_as}`")
        _require_unused(live)
    with disk_errors("replacing the database", changed=True):
        # A log or journal left of the old database would be played into the new one.
        for suffix in sqlite.SIDE_FILES:
            Path(f"{live}{suffix}").unlink(missing_ok=True)
        fsync_directory(live.parent)
        staged.rename(live)
        fsync_directory(live.parent)


def _require_unused(live: Path) -> None:
    holders = sqlite.holders(live)
    if holders:
        raise StepError(
            f"database `{live}` is still open in {', '.join(holders)}",
            hint="stop what uses it, then `runbook resume`",
            changed=False,
        )


def _settle(live: Path, ctx: Context) -> None:
    """Bring the log into the live file, so that the file alone is all of it."""
    try:
        sqlite.checkpoint(live, timeout_s=min(5.0, ctx.remaining_s()))
    except Unfit as error:
        # A damaged database is no reason to leave it in place: its files are kept as they are.
        ctx.log(f"{error.message}; it is kept as it is, with its log")


def _keep(live: Path, kept: Path) -> Path:
    """Keep the live database, and side files where it needs them; what is kept stays kept."""
    for suffix in ("-wal", "-journal"):
        side = Path(f"{live}{suffix}")
        if side.exists():
            _keep_file(side, kept)
    return _keep_file(live, kept)


def _keep_file(file: Path, kept: Path) -> Path:
    number = 1
    target = kept / file.name
    while target.exists():
        if target.samefile(file) or sha256_of(target) == sha256_of(file):
            return target
        number += 1
        target = kept / f"{file.name}.{number}"
    try:
        target.hardlink_to(file)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        status = file.stat()
        copy_durably(file, target, mode=status.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.chown(target, status.st_uid, status.st_gid)
    fsync_directory(kept)
    return target


def _probe(spec: RestoreDb, ctx: Context) -> ProbeResult[RestoredDb]:
    point = loaded_point(ctx)
    entry = _entry(point, spec.database.name)
    if entry.absent:
        return NotDone("there was no database in the restore point")
    live = spec.database.path.resolve()
    staged = _staged(spec, live, entry, ctx)
    if spec.phase == "stage":
        if is_intact(staged, entry):
            return HalfDone(f"`{staged}` is whole and is yet to be compared")
        return NotDone(f"`{staged}` is not complete")
    if _is_switched(live, ctx):
        kept = replaced_dir(ctx.state_dir, ctx.operation) / live.name
        outputs = _outputs(spec, point, staged=staged, replaced=kept)
        return Done(outputs, f"the staged file has the name `{live}`")
    return HalfDone(f"`{live}` is still the old database")


def _by_hand(spec: RestoreDb) -> Sequence[str]:
    name, path = spec.database.name, quote(str(spec.database.path))
    return [
        f"sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'",
        f"cp RESTORE_POINT/databases/{name}.sqlite {path}.new",
        f"mv {path} {path}.replaced && mv {path}.new {path}",
    ]


def _preflight(spec: RestoreDb, ctx: Context) -> Sequence[str]:
    live = spec.database.path.resolve()
    if not live.is_file():
        return []
    needed_bytes = sqlite.size_bytes(live)
    missing = missing_room(live.parent, needed_bytes, f"restoring `{live}`")
    if spec.phase != "stage" and live.stat().st_dev != ctx.state_dir.stat().st_dev:
        missing += missing_room(ctx.state_dir, needed_bytes, f"keeping the replaced `{live}`")
    return missing


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
    by_hand=_by_hand,
    preflight=_preflight,
    timeout_s=3600.0,
)
