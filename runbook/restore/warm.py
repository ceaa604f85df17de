"""Warm ways back: copies of a restore point's databases that lie restored beside the live ones.

A switch to one takes a rename. The newest two of each database are kept.
"""

import os
from contextlib import suppress
from pathlib import Path

from runbook.errors import StepError, Unfit
from runbook.restore.manifest import DatabaseEntry
from runbook.restore.point import open_point, point_ids
from runbook.tools import sqlite
from runbook.tools.files import copy_durably, disk_errors, fsync_file, sha256_of

KEPT = 2


def staged_beside(live: Path, operation: str) -> Path:
    """Where a database is staged by the step of that operation."""
    return live.with_name(f"{live.name}.rb-{operation}")


def is_intact(staged: Path, entry: DatabaseEntry) -> bool:
    """Whether a staged database is byte for byte the one of the restore point."""
    if entry.artefact is None or not staged.is_file():
        return False
    if staged.stat().st_size != entry.artefact.size_bytes:
        return False
    return sha256_of(staged) == entry.artefact.sha256


def stage(source: Path, staged: Path, entry: DatabaseEntry) -> None:
    """Copy a restore point's database beside the live one and compare it with its fingerprint.

    Durable, and with the owner and mode of the original, once this returns.

    Raises:
        Unfit: the copy does not hold what was backed up.
        StepError: the disk refuses.
    """
    assert entry.artefact is not None and entry.fingerprint is not None
    with disk_errors("staging the database", changed=False):
        if not is_intact(staged, entry):
            staged.unlink(missing_ok=True)
            copy_durably(source, staged)
        if os.geteuid() == 0:
            os.chown(staged, entry.uid, entry.gid)
        staged.chmod(int(entry.mode, 8))
        fsync_file(staged)
        if not is_intact(staged, entry):
            staged.unlink()
            raise Unfit(f"the restore point's `{source}` is damaged: its sha256 differs")
    problems = entry.fingerprint.differences(sqlite.fingerprint_of(staged))
    if problems:
        staged.unlink()
        raise Unfit(f"`{source}` does not hold what was backed up: {'; '.join(problems[:3])}")


def drop_older(state_dir: Path, project: str) -> list[str]:
    """Delete all but the newest warm copies of each database of a project; says which."""
    kept: dict[str, int] = {}
    dropped = []
    for identifier in reversed(point_ids(state_dir)):
        with suppress(StepError):
            manifest = open_point(state_dir, identifier).manifest
            warm = [e for e in manifest.databases if manifest.project == project and e.warm]
            for path in (Path(str(entry.warm)) for entry in warm):
                key = path.name.rpartition(".rb-")[0]
                location = f"{path.parent}/{key}"
                if not path.exists():
                    continue
                kept[location] = kept.get(location, 0) + 1
                if kept[location] > KEPT:
                    path.unlink()
                    dropped.append(str(path))
    return dropped
