"""Snapshots of a directory: a copy of its files beside an inventory of all that they are.

The copy holds content only, readable with ordinary tools; modes, owners and times stand in the
inventory. delta.py brings a directory back to one.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from runbook.errors import StepError
from runbook.tools.files import (
    copy_content,
    disk_errors,
    sha256_of,
    sync_file_system,
)
from runbook.tools.inventory import ROOT, Entry, EntryType, Inventory, entry_if_there, scan

STAGED_PREFIX = ".runbook-restore-"
"""What a restore's own unfinished files begin with."""

_READS_OF_A_LIVE_FILE = 5
_REPLACED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
"""No file to open: it is gone, or its directory is, or a link or a socket stands in its place."""


Method = Literal["reflink", "copy", "engine"]
"""How files were copied: the file system shared blocks; or not; or the engine handed them out."""


@dataclass(frozen=True, slots=True)
class Previous:
    """An older snapshot of the same directory, whose unchanged files need not be stored twice."""

    inventory: Inventory
    files: Path


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was taken."""

    inventory: Inventory
    method: Method
    linked: int
    """Files shared with the older snapshot."""


def take_snapshot(
    tree: Path,
    target: Path,
    *,
    is_live: bool,
    previous: Previous | None,
    check: Callable[[], None],
) -> Snapshot:
    """Copy a directory's files to a new directory, durably, with every file's sha256.

    A file that changes while it is read is read again where `is_live`, and else an error.

    Raises:
        StepError: a file keeps changing, or cannot be read, or there is no room.
    """
    taking = _Taking(tree, target, is_live, previous, check)
    with disk_errors(f"taking a snapshot of `{tree}`", changed=False):
        found = scan(tree, ignored=is_staged, check=check)
        inventory: Inventory = {}
        for entry in found.values():
            check()
            taken = taking.take(entry)
            if taken is not None:
                inventory[taken.path] = taken
        sync_file_system(target)
        if not is_live:
            _require_untouched(found, scan(tree, ignored=is_staged, check=check), tree)
    method: Method = "reflink" if taking.has_clones else "copy"
    return Snapshot(inventory, method, taking.linked)


def is_staged(name: str) -> bool:
    """Whether a name is that of a restore's unfinished file."""
    return name.startswith(STAGED_PREFIX)


def _require_untouched(before: Inventory, after: Inventory, tree: Path) -> None:
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None or old.signature != new.signature:
            raise changing(tree / path)


def changing(path: Path) -> StepError:
    """What is said of a file that somebody writes to."""
    return StepError(
        f"`{path}` changes while it is read",
        hint="stop what writes to it, or take the snapshot with `level: live`",
        changed=False,
    )


class _Taking:
    """One snapshot while it is taken."""

    def __init__(
        self,
        tree: Path,
        target: Path,
        is_live: bool,  # noqa: FBT001 - private
        previous: Previous | None,
        check: Callable[[], None],
    ) -> None:
        self.check = check
        self.tree = tree
        self.target = target
        self.is_live = is_live
        self.previous = previous
        self.has_clones = False
        self.linked = 0
        self.by_group: dict[int, Entry] = {}

    def take(self, entry: Entry) -> Entry | None:
        """Copy one entry; None where it vanished while it was live."""
        target = self.target / entry.path
        match entry.type:
            case EntryType.DIRECTORY:
                if entry.path != ROOT:
                    target.mkdir(mode=0o700)
                return entry
            case EntryType.SYMLINK:
                target.symlink_to(entry.target)
                return entry
            case EntryType.SPECIAL:
                return entry
            case EntryType.FILE:
                return self.take_file(entry, target)

    def take_file(self, entry: Entry, target: Path) -> Entry | None:
        twin = self.by_group.get(entry.link_group) if entry.link_group else None
        if twin is not None:
            target.hardlink_to(self.target / twin.path)
            return replace(twin, path=entry.path)
        taken = self.link_unchanged(entry, target) or self.copy(entry, target)
        if taken is not None and taken.type is EntryType.FILE and entry.link_group:
            self.by_group[entry.link_group] = taken
        return taken

    def link_unchanged(self, entry: Entry, target: Path) -> Entry | None:
        """Share the older snapshot's file where nobody has touched the original since."""
        old = self.previous.inventory.get(entry.path) if self.previous is not None else None
        if self.previous is None or old is None or old.signature != entry.signature:
            return None
        if not link_stored(self.previous.files / entry.path, old.sha256, target):
            return None
        self.linked += 1
        return replace(entry, sha256=old.sha256)

    def copy(self, entry: Entry, target: Path) -> Entry | None:
        for _ in range(_READS_OF_A_LIVE_FILE if self.is_live else 1):
            before = entry_if_there(self.tree / entry.path, entry.path)
            if before is None or before.type is not EntryType.FILE:
                return self.take_other(entry, before, target)
            sha256 = self.copy_once(entry.path, target)
            after = entry_if_there(self.tree / entry.path, entry.path)
            if sha256 is not None and after is not None and after.signature == before.signature:
                os.utime(target, ns=(before.mtime_ns, before.mtime_ns))
                return replace(before, sha256=sha256, link_group=entry.link_group)
        raise changing(self.tree / entry.path)

    def take_other(self, entry: Entry, now: Entry | None, target: Path) -> Entry | None:
        """What has come in place of a file; of a directory nobody has looked what is in it."""
        target.unlink(missing_ok=True)
        if not self.is_live:
            raise changing(self.tree / entry.path)
        return None if now is None or now.type is EntryType.DIRECTORY else self.take(now)

    def copy_once(self, path: str, target: Path) -> str | None:
        """Its content's sha256; None where there is no such file any more."""
        target.unlink(missing_ok=True)
        try:
            # A pipe in its place would wait for somebody who writes to it.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            reading = os.open(self.tree / path, flags)
        except OSError as error:
            if error.errno in _REPLACED:
                return None
            raise
        try:
            if not stat.S_ISREG(os.fstat(reading).st_mode):
                return None
            writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                sha256, is_clone = copy_content(reading, writing, check=self.check)
            finally:
                os.close(writing)
        finally:
            os.close(reading)
        self.has_clones = self.has_clones or is_clone
        return sha256


def link_stored(stored: Path, sha256: str, target: Path) -> bool:
    """Share an older snapshot's file, if it is intact, and the file system lets us."""
    try:
        # A damaged file must not be handed on from one restore point to the next.
        if sha256_of(stored) != sha256:
            return False
        target.hardlink_to(stored)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EXDEV, errno.EMLINK, errno.EPERM):
            return False
        raise
    return True


def problems_of_copy(inventory: Inventory, files: Path, *, check: Callable[[], None]) -> list[str]:
    """What is missing or damaged in a snapshot's files; every byte is read."""
    problems = []
    for entry in inventory.values():
        check()
        stored = files / entry.path
        match entry.type:
            case EntryType.FILE if not stored.is_file():
                problems.append(f"`{stored}` is missing")
            case EntryType.FILE if stored.stat().st_size != entry.size_bytes:
                size = stored.stat().st_size
                problems.append(f"`{stored}` has {size} bytes in place of {entry.size_bytes}")
            case EntryType.FILE if sha256_of(stored) != entry.sha256:
                problems.append(f"`{stored}` is damaged: its sha256 differs")
            case _:
                pass
    return problems


def set_metadata(path: Path, entry: Entry) -> None:
    """Give what stands there the entry's owner, mode, attributes and times.

    In this order: chown(2) clears what chmod(2) and the attributes have set.
    """
    if os.geteuid() == 0:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    if entry.type is not EntryType.SYMLINK:
        path.chmod(entry.mode)
        for name in set(os.listxattr(path)) - entry.xattrs.keys():
            if name.startswith("user."):
                os.removexattr(path, name)
        for name, value in entry.xattrs.items():
            os.setxattr(path, name, value)
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
