"""The way back of an SQLite database: a checked copy, a file staged beside it, one rename."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from runbook.errors import StepError, Unfit
from runbook.kinds import Context, Room
from runbook.resources import Sqlite
from runbook.restore.databases import Phase, Row, Switched
from runbook.restore.manifest import SqliteEntry
from runbook.restore.point import artefact_of, replaced_dir
from runbook.tools import sqlite
from runbook.tools.files import (
    copy_durably,
    disk_errors,
    fsync_directory,
    fsync_file,
    make_directories,
    part_of,
    sha256_of,
    unwritable,
)


@dataclass(frozen=True, slots=True)
class SqliteWay:
    """Satisfies `databases.DatabaseWay`."""

    database: Sqlite

    @property
    def _live(self) -> Path:
        return self.database.path.resolve()

    # --- backing up -----------------------------------------------------------------------

    def back_up(self, staging: Path, ctx: Context) -> SqliteEntry:
        entry = SqliteEntry(
            name=self.database.name,
            location=str(self.database.path),
            taken_at=ctx.now().isoformat(),
        )
        if not sqlite.is_there(self._live):
            ctx.log(f"there is no database `{self._live}` yet")
            return entry.model_copy(update={"absent": True})
        with disk_errors("backing up the database", changed=False):
            status = self._live.stat()
            fingerprint = self._copy_to(staging / "databases", ctx)
            artefact = artefact_of(staging, f"databases/{self._copy_name}")
        rows = sum(table.rows for table in fingerprint.tables.values())
        ctx.log(f"{len(fingerprint.tables)} tables, {rows} rows, {artefact.size_bytes} bytes")
        return entry.model_copy(
            update={
                "artefact": artefact,
                "fingerprint": fingerprint,
                "mode": f"{status.st_mode & 0o7777:04o}",
                "uid": status.st_uid,
                "gid": status.st_gid,
            }
        )

    @property
    def _copy_name(self) -> str:
        return f"{self.database.name}.sqlite"

    def _copy_to(self, directory: Path, ctx: Context) -> sqlite.Fingerprint:
        make_directories(directory)
        part = part_of(directory / self._copy_name)
        part.unlink(missing_ok=True)
        timeout_s = min(30.0, ctx.remaining_s())
        try:
            fingerprint = sqlite.back_up(self._live, part, timeout_s=timeout_s, check=ctx.check)
            part.rename(directory / self._copy_name)
        finally:
            part.unlink(missing_ok=True)
        fsync_directory(directory)
        return fingerprint

    def import_dump(self, file: Path, staging: Path, ctx: Context) -> SqliteEntry:
        raise Unfit(f"`{file}` cannot be imported: `{self.database.name}` is an SQLite database")

    def flaws(self, root: Path, entry: SqliteEntry, ctx: Context) -> list[str]:
        if entry.artefact is None or entry.fingerprint is None:
            return []
        copy = root / entry.artefact.path
        problems = sqlite.integrity_problems(copy, check=ctx.check)
        if problems:
            return problems
        return entry.fingerprint.differences(sqlite.fingerprint_of(copy, check=ctx.check))

    # --- staging --------------------------------------------------------------------------

    def staged_name(self, operation: str) -> str:
        return str(self._live.with_name(f"{self._live.name}.rb-{operation}"))

    def warm(self, entry: SqliteEntry, ctx: Context) -> str | None:
        if entry.warm is None or Path(entry.warm).parent != self._live.parent:
            return None
        return entry.warm if _is_intact(Path(entry.warm), entry) else None

    def is_staged(self, staged: str, entry: SqliteEntry, ctx: Context) -> bool:
        return _is_intact(Path(staged), entry)

    def stage(self, staged: str, root: Path, entry: SqliteEntry, ctx: Context) -> None:
        assert entry.artefact is not None and entry.fingerprint is not None
        source, target = root / entry.artefact.path, Path(staged)
        with disk_errors("staging the database", changed=False):
            make_directories(target.parent, mode=0o755)
            if not _is_intact(target, entry):
                target.unlink(missing_ok=True)
                copy_durably(source, target)
            if os.geteuid() == 0:
                os.chown(target, entry.uid, entry.gid)
            target.chmod(int(entry.mode, 8))
            fsync_file(target)
            if not _is_intact(target, entry):
                target.unlink()
                raise Unfit(f"the restore point's `{source}` is damaged: its sha256 differs")
        problems = entry.fingerprint.differences(sqlite.fingerprint_of(target))
        if problems:
            target.unlink()
            raise Unfit(f"`{source}` does not hold what was backed up: {'; '.join(problems[:3])}")

    def has_staged(self, staged: str, ctx: Context) -> bool:
        return Path(staged).exists()

    def drop(self, staged: str, ctx: Context) -> bool:
        if not Path(staged).exists():
            return False
        Path(staged).unlink()
        return True

    # --- switching ------------------------------------------------------------------------

    def switch(self, staged: str, root: Path, entry: SqliteEntry, ctx: Context) -> Switched:
        live, target = self._live, Path(staged)
        self.stage(staged, root, entry, ctx)
        ctx.record_progress({"staged": staged, "inode": target.stat().st_ino})
        if live.exists():
            self._keep(ctx)
        with disk_errors("replacing the database", changed=True):
            # A log or journal left of the old database would be played into the new one.
            for suffix in sqlite.SIDE_FILES:
                Path(f"{live}{suffix}").unlink(missing_ok=True)
            fsync_directory(live.parent)
            target.rename(live)
            fsync_directory(live.parent)
        return self._kept(ctx)

    def switched(self, ctx: Context) -> Switched | None:
        """The staged file is known by its inode."""
        inode, live = (ctx.progress or {}).get("inode"), self._live
        if not isinstance(inode, int) or not live.exists() or live.stat().st_ino != inode:
            return None
        with disk_errors("restoring the database", changed=True):
            fsync_directory(live.parent)
        return self._kept(ctx)

    def _kept(self, ctx: Context) -> Switched:
        kept = replaced_dir(ctx.state_dir, ctx.operation) / self._live.name
        return Switched(str(kept) if kept.exists() else None)

    def _keep(self, ctx: Context) -> None:
        """Keep the live database, and side files where it needs them; what is kept stays kept."""
        kept = replaced_dir(ctx.state_dir, ctx.operation)
        self._require_unused()
        self._settle_log(ctx)
        with disk_errors("keeping the database that will be replaced", changed=False):
            make_directories(kept)
            for suffix in ("-wal", "-journal"):
                side = Path(f"{self._live}{suffix}")
                if side.exists():
                    _keep_file(side, kept)
            kept_as = _keep_file(self._live, kept)
        ctx.log(f"the replaced database is kept as `{kept_as}`")
        self._require_unused()

    def _require_unused(self) -> None:
        holders = sqlite.holders(self._live)
        if holders:
            raise StepError(
                f"database `{self._live}` is still open in {', '.join(holders)}",
                hint="stop what uses it, then `runbook resume`",
                changed=False,
            )

    def _settle_log(self, ctx: Context) -> None:
        """Bring the log into the live file, so that the file alone is all of it."""
        try:
            sqlite.checkpoint(self._live, timeout_s=min(5.0, ctx.remaining_s()))
        except Unfit as error:
            # A damaged database is no reason to leave it in place: its files are kept as they are.
            ctx.log(f"{error.message}; it is kept as it is, with its log")

    # --- what people and preflight are told -----------------------------------------------

    def written_since(self, entry: SqliteEntry, ctx: Context) -> list[str]:
        name = self.database.name
        if entry.fingerprint is None:
            return [f"database `{name}` did not exist then"]
        if not self._live.exists():
            return [f"database `{name}` does not exist any more"]
        now = sqlite.row_counts(self._live)
        then = {table: found.rows for table, found in entry.fingerprint.tables.items()}
        changed = [
            f"{name}.{table}: {then.get(table, 0)} rows then, {now.get(table, 0)} now"
            for table in sorted(then.keys() | now.keys())
            if then.get(table) != now.get(table)
        ]
        return changed or [f"database `{name}` has as many rows as then"]

    def obstacles(self, entry: SqliteEntry, ctx: Context) -> list[str]:
        return []

    def schema_digest(self, ctx: Context) -> str:
        return sqlite.schema_digest(self._live) if sqlite.is_there(self._live) else ""

    def query(self, text: str, ctx: Context, *, timeout_s: float, at_most: int) -> list[Row]:
        if not sqlite.is_there(self._live):
            raise Unfit(f"there is no database `{self._live}`")
        return sqlite.query(self._live, text, timeout_s=timeout_s, at_most=at_most)

    def warnings(self, ctx: Context) -> list[str]:
        return []

    def missing_for_backup(self, ctx: Context) -> list[str]:
        try:
            if sqlite.is_there(self._live):
                sqlite.require_readable(self._live)
        except StepError as error:
            return [error.message]
        return unwritable(self.database.path)

    def missing_for_restore(self, ctx: Context) -> list[str]:
        return unwritable(self.database.path)

    def room_for_backup(self, ctx: Context) -> list[Room]:
        return [self._room(ctx.state_dir, f"the backup of `{self._live}`")]

    def room_for_restore(self, phase: Phase, ctx: Context) -> list[Room]:
        rooms = []
        if phase != "switch":
            rooms.append(self._room(self._live.parent, f"restoring `{self._live}`"))
        # On one file system, the replaced database is kept by a link.
        is_far = self._live.exists() and self._live.stat().st_dev != ctx.state_dir.stat().st_dev
        if phase != "stage" and is_far:
            rooms.append(self._room(ctx.state_dir, f"keeping the replaced `{self._live}`"))
        return rooms

    def _room(self, place: Path, purpose: str) -> Room:
        size_bytes = sqlite.size_bytes(self._live) if self._live.is_file() else 0
        return Room(place=place, size_bytes=size_bytes, purpose=purpose)

    def query_by_hand(self) -> str:
        return f"sqlite3 -readonly {quote(str(self.database.path))}"

    def backup_by_hand(self) -> Sequence[str]:
        path = quote(str(self.database.path))
        return [f"sqlite3 {path} \".backup '{self._copy_name}'\""]

    def restore_by_hand(self, phase: Phase) -> Sequence[str]:
        path = quote(str(self.database.path))
        stage = f"cp RESTORE_POINT/databases/{self._copy_name} {path}.new"
        if phase == "stage":
            return [stage]
        return [
            *([stage] if phase == "all" else []),
            f"sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'",
            f"mv {path} {path}.replaced && mv {path}.new {path}",
        ]


def _is_intact(staged: Path, entry: SqliteEntry) -> bool:
    """Whether a staged database is byte for byte the one of the restore point."""
    if entry.artefact is None or not staged.is_file():
        return False
    if staged.stat().st_size != entry.artefact.size_bytes:
        return False
    return sha256_of(staged) == entry.artefact.sha256


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
