"""The way back of a directory: copies of its files with an inventory, and a delta restore."""

import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from runbook.errors import StepError, Unfit
from runbook.kinds import Context, Room
from runbook.resources import Directory
from runbook.restore.manifest import VolumeEntry
from runbook.restore.point import (
    RestorePoint,
    artefact_of,
    newest_with_volume,
    read_inventory,
    replaced_dir,
)
from runbook.restore.trees import BroughtBack, Level
from runbook.restore.writers import held, require_stopped, unknown_writers, wake
from runbook.tools.archive import Previous, Snapshot, is_staged, take_snapshot
from runbook.tools.delta import Restore, Restored
from runbook.tools.difference import compare
from runbook.tools.files import (
    disk_errors,
    fsync_directory,
    make_directories,
    unwritable,
    write_durably,
)
from runbook.tools.inventory import EntryType, content_bytes, encode, scan, tree_sha256
from runbook.tools.kept import Kept
from runbook.units import format_size


@dataclass(frozen=True, slots=True)
class DirectoryWay:
    """Satisfies `trees.TreeWay`."""

    directory: Directory

    @property
    def _tree(self) -> Path:
        return self.directory.path.resolve()

    # --- snapshots ------------------------------------------------------------------------

    def take(self, level: Level, staging: Path, ctx: Context) -> VolumeEntry:
        entry = VolumeEntry(
            name=self.directory.name,
            location=str(self.directory.path),
            taken_at=ctx.now().isoformat(),
            level=level,
        )
        self._require_fit(level)
        if not self._tree.exists():
            ctx.log(f"there is no directory `{self._tree}` yet")
            return entry.model_copy(update={"absent": True})
        with held(self.directory.used_by, level, ctx):
            return snapshot_of(self._tree, entry, staging, ctx)

    def import_archive(self, file: Path, staging: Path, ctx: Context) -> VolumeEntry:
        return import_archive(self.directory.name, str(self.directory.path), file, staging, ctx)

    def wake(self, ctx: Context) -> None:
        wake(ctx)

    def _require_fit(self, level: Level) -> None:
        if level == "paused" and not self.directory.used_by:
            raise Unfit(
                f"nothing is known to write to directory `{self.directory.name}`,"
                " so nothing can be paused",
                hint="name its processes by `used_by`, or use `level: stopped` or `level: live`",
            )
        if self._tree.exists() and not self._tree.is_dir():
            raise Unfit(f"expected a directory, found a file: `{self._tree}`")

    # --- restoring ------------------------------------------------------------------------

    def restore(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> BroughtBack:
        if self._tree.exists() and not self._tree.is_dir():
            raise StepError(
                f"expected a directory, found a file: `{self._tree}`",
                hint="move it away, then `runbook resume`",
                changed=False,
            )
        require_stopped(self.directory.used_by, ctx)
        return bring_back(self._tree, point, entry, ctx)

    # --- what people and preflight are told -----------------------------------------------

    def written_since(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> list[str]:
        if entry.absent:
            return [f"directory `{entry.name}` did not exist then"]
        count = count_differences(self._tree, point, entry, ctx)
        return [f"directory `{entry.name}`: {count} entries written, touched or deleted since"]

    def missing_for_snapshot(self, level: Level, ctx: Context) -> list[str]:
        try:
            self._require_fit(level)
        except Unfit as error:
            return [error.message]
        return [*unknown_writers(self.directory.used_by, ctx), *unwritable(self.directory.path)]

    def missing_for_restore(self, ctx: Context) -> list[str]:
        return unwritable(self.directory.path)

    def room_for_snapshot(self, ctx: Context) -> list[Room]:
        return [self._room(ctx.state_dir, f"the snapshot of `{self._tree}`", ctx)]

    def room_for_restore(self, ctx: Context) -> list[Room]:
        kept = f"keeping what a restore of `{self._tree}` replaces"
        return [
            self._room(self._tree, f"restoring `{self._tree}`", ctx),
            self._room(ctx.state_dir, kept, ctx),
        ]

    def _room(self, place: Path, purpose: str, ctx: Context) -> Room:
        size_bytes = size_of_tree(self._tree, ctx) if self._tree.is_dir() else 0
        return Room(place=place, size_bytes=size_bytes, purpose=purpose)

    def snapshot_by_hand(self) -> Sequence[str]:
        return [f"cp -a --reflink=auto {quote(str(self.directory.path))} {self.directory.name}"]

    def restore_by_hand(self) -> Sequence[str]:
        name, path = self.directory.name, quote(str(self.directory.path))
        return [
            f"cp -a {path} {path}.replaced",
            f"rsync -a --delete --checksum RESTORE_POINT/volumes/{name}/files/ {path}/",
        ]


# --- for every tree that lies where we can reach it -------------------------------------------


Take = Callable[[Path, Previous | None], Snapshot]
"""Copies a tree's files to a new directory; some may be shared with an older snapshot."""


def snapshot_of(tree: Path, entry: VolumeEntry, staging: Path, ctx: Context) -> VolumeEntry:
    """Take a snapshot of a tree that we can reach and complete its entry; raises StepError."""

    def take(files: Path, previous: Previous | None) -> Snapshot:
        is_live = entry.level == "live"
        return take_snapshot(tree, files, is_live=is_live, previous=previous, check=ctx.check)

    return stored(entry, staging, take, ctx)


def stored(entry: VolumeEntry, staging: Path, take: Take, ctx: Context) -> VolumeEntry:
    """Put a snapshot into the restore point and complete its entry.

    Raises:
        StepError: the disk refuses; or a file changed meanwhile though the entry's level is not
            `live`. Nothing is left in `staging`.
    """
    home = staging / "volumes" / entry.name
    with disk_errors("taking a snapshot", changed=False):
        shutil.rmtree(home, ignore_errors=True)
        make_directories(home / "files")
    try:
        return _fill(entry, take, staging, home, ctx)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def import_archive(
    name: str, location: str, file: Path, staging: Path, ctx: Context
) -> VolumeEntry:
    """What a tar archive holds, as a snapshot; owners, modes and times come with it.

    Raises:
        Unfit: the archive is missing, truncated or damaged.
    """
    entry = VolumeEntry(
        name=name, location=location, taken_at=ctx.now().isoformat(), level="stopped"
    )
    unpacked = staging / "unpacked" / name
    shutil.rmtree(unpacked, ignore_errors=True)
    with disk_errors("unpacking the archive", changed=False):
        make_directories(unpacked)
        try:
            with tarfile.open(file) as archive:
                archive.extractall(unpacked, filter="tar")
        except (FileNotFoundError, EOFError, tarfile.TarError, zlib.error) as error:
            raise Unfit(f"archive `{file}` cannot be read: {error}") from error
    try:
        return snapshot_of(unpacked, entry, staging, ctx)
    finally:
        shutil.rmtree(staging / "unpacked")


def _fill(entry: VolumeEntry, take: Take, staging: Path, home: Path, ctx: Context) -> VolumeEntry:
    snapshot = take(home / "files", _previous(entry.name, ctx))
    with disk_errors("writing the inventory", changed=False):
        write_durably(home / "inventory.jsonl", encode(snapshot.inventory))
        fsync_directory(home.parent)
        artefact = artefact_of(staging, f"volumes/{entry.name}/inventory.jsonl")
    files = [e for e in snapshot.inventory.values() if e.type is EntryType.FILE]
    special = [e.path for e in snapshot.inventory.values() if e.type is EntryType.SPECIAL]
    size_bytes = content_bytes(files)
    shared = f", {snapshot.linked} of them shared with the last one" if snapshot.linked else ""
    ctx.log(f"{len(files)} files, {format_size(size_bytes)}{shared}")
    if special:
        ctx.log(f"sockets, pipes and devices hold no data and are only recorded: {special[:5]!r}")
    return entry.model_copy(
        update={
            "method": snapshot.method,
            "inventory": artefact,
            "tree_sha256": tree_sha256(snapshot.inventory),
            "files": f"volumes/{entry.name}/files",
            "file_count": len(files),
            "size_bytes": size_bytes,
        }
    )


def _previous(name: str, ctx: Context) -> Previous | None:
    point = newest_with_volume(ctx.state_dir, ctx.project, name)
    entry = point.manifest.volume(name) if point is not None else None
    if point is None or entry is None:
        return None
    try:
        inventory = read_inventory(point.directory, entry)
    except Unfit:
        return None
    return Previous(inventory, point.directory / entry.files)


def bring_back(tree: Path, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> BroughtBack:
    """Make the tree what it was; what is overwritten or deleted is kept in `replaced/` first."""
    kept = Kept(replaced_dir(ctx.state_dir, ctx.operation))
    done = Restore(
        tree=tree,
        wanted=read_inventory(point.directory, entry),
        files=point.directory / entry.files,
        kept=kept,
        operation=ctx.operation,
        is_coarse=entry.is_coarse,
        check=ctx.check,
    ).run()
    return told(done, kept, ctx)


def told(done: Restored, kept: Kept, ctx: Context) -> BroughtBack:
    """What a restore did, for the log and the step's outputs."""
    ctx.log(f"{done.written} written, {done.removed} removed, {done.adjusted} adjusted")
    if not kept.is_empty:
        ctx.log(f"what was overwritten or deleted lies in `{kept.directory}`")
    return BroughtBack(
        written=done.written,
        removed=done.removed,
        adjusted=done.adjusted,
        replaced=None if kept.is_empty else str(kept.directory),
        # An attempt before this one may have done part of it: what it kept shows that it did.
        changed=done.is_change or not kept.is_empty,
    )


def count_differences(tree: Path, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> int:
    """How many entries were written, touched or deleted since; raises StepError."""
    inventory = read_inventory(point.directory, entry)
    with disk_errors(f"looking at `{tree}`", changed=False):
        delta = compare(
            tree,
            inventory,
            check=ctx.check,
            # Of what the engine told of a file, its content alone shows whether it was touched.
            reads_content=entry.is_coarse,
            is_coarse=entry.is_coarse,
        )
    return len({*delta.written, *delta.extras})


def size_of_tree(tree: Path, ctx: Context) -> int:
    """Bytes of all files' content."""
    with disk_errors(f"looking at `{tree}`", changed=False):
        return content_bytes(scan(tree, ignored=is_staged, check=ctx.check).values())
