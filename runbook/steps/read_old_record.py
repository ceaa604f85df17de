"""Read the record that deployment scripts have left of their last backup."""

import re
from collections.abc import Sequence
from pathlib import Path

from runbook.core.plan import Effect, Rerun
from runbook.errors import Unfit
from runbook.kinds import Context, Outputs, Spec, StepKind
from runbook.resources import AbsolutePath

_LINE = re.compile(r"(?:export\s+)?([A-Z_]+)=(['\"]?)([A-Za-z0-9_./:+@ -]*)\2")
_KNOWN = (
    *("DEPLOYMENT_TIMESTAMP", "BACKUP_DIR", "DB_BACKUP_FILE", "MINIO_BACKUP_FILE"),
    *("GIT_COMMIT", "GIT_BRANCH"),
)


class ReadOldRecord(Spec):
    """Read the record that deployment scripts have left of their last backup.

    A `.last-deployment-backup` of lines `NAME=value`. It is read, and never run as shell: a line
    that is anything else is an error.

    Example:
        id: record
        uses: read_old_record
        with: {file: ../.last-deployment-backup}
    """

    file: AbsolutePath
    """The record."""


class OldRecord(Outputs):
    """What it says."""

    taken_at: str
    """When the backup was made, as the scripts wrote it."""
    dump: str
    """The database's dump: absolute path of a `.sql.gz`."""
    archive: str
    """The volume's files: absolute path of a `.tar.gz`."""
    commit: str
    """The commit that was checked out."""
    branch: str
    """The branch that was checked out; may be empty."""


def _run(spec: ReadOldRecord, ctx: Context) -> OldRecord:
    values = _parsed(spec.file)
    base = spec.file.parent / values.get("BACKUP_DIR", "")
    return OldRecord(
        taken_at=values.get("DEPLOYMENT_TIMESTAMP", ""),
        dump=str(_found(spec.file, base, values, "DB_BACKUP_FILE")),
        archive=str(_found(spec.file, base, values, "MINIO_BACKUP_FILE")),
        commit=values.get("GIT_COMMIT", ""),
        branch=values.get("GIT_BRANCH", ""),
    )


def _parsed(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Unfit(f"record `{file}` cannot be read: {error}") from error
    values = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None or found[1] not in _KNOWN:
            raise Unfit(
                f"line {number} of `{file}` is not one of {', '.join(_KNOWN)}: `{line.strip()}`",
                hint="a record is lines of NAME=value, and nothing of it is run",
            )
        values[found[1]] = found[3]
    return values


def _found(record: Path, base: Path, values: dict[str, str], name: str) -> Path:
    """The file that the record names: as it stands, or in its directory."""
    value = values.get(name)
    if not value:
        raise Unfit(f"record `{record}` does not say `{name}`")
    places = [record.parent / value, base / value]
    there = next((place for place in places if place.is_file()), None)
    if there is None:
        raise Unfit(f"`{name}` of `{record}` names `{value}`, which is not there")
    return there.resolve()


def _preflight(spec: ReadOldRecord, _ctx: Context) -> Sequence[str]:
    return [] if spec.file.is_file() else [f"there is no record `{spec.file}`"]


STEP = StepKind(
    spec=ReadOldRecord,
    outputs=OldRecord,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"read `{spec.file}`",
    run=_run,
    preflight=_preflight,
)
