"""Snapshots of a volume that only its engine can reach; archive.py takes those that we can."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import IO

from runbook.tools.archive import Previous, Snapshot, changing, is_staged, link_stored
from runbook.tools.difference import SECOND_NS, leaders_of
from runbook.tools.files import disk_errors, make_directories, part_of, sync_file_system
from runbook.tools.helper_containers import Helper
from runbook.tools.inventory import Entry, EntryType, Inventory, tree_sha256
from runbook.tools.tar_stream import TornArchive, hash_only, read_tree

_READS_OF_A_LIVE_VOLUME = 5
_CHUNK_BYTES = 1 << 20


def take_snapshot(
    helper: Helper, target: Path, *, name: Path, is_live: bool, previous: Previous | None
) -> Snapshot:
    """Copy a volume's files to a new directory, durably, with every file's sha256.

    Where `is_live`, an archive that somebody's writing has torn is read again. Else all is read
    twice, and must be the same. `name` is what people call the volume's directory.

    Raises:
        StepError: files keep changing, or there is no room.
    """
    with disk_errors("taking a snapshot", changed=False):
        for _ in range(_READS_OF_A_LIVE_VOLUME if is_live else 1):
            taking = _Taking(target, previous)
            try:
                found = read_tree(helper.read(), ignored=is_staged, take=taking.take_file)
            except TornArchive:
                shutil.rmtree(target)
                make_directories(target)
                continue
            taking.lay_out(found)
            sync_file_system(target)
            if not is_live:
                _require_same(found, _read_again(helper), name)
            return Snapshot(found, "engine", taking.linked)
    raise changing(name)


def _read_again(helper: Helper) -> Inventory:
    try:
        return read_tree(helper.read(), ignored=is_staged, take=hash_only)
    except TornArchive:
        return {}


def _require_same(before: Inventory, after: Inventory, name: Path) -> None:
    if tree_sha256(before) == tree_sha256(after):
        return
    paths = sorted(before.keys() | after.keys())
    raise changing(name / next(path for path in paths if before.get(path) != after.get(path)))


class _Taking:
    """One reading of a volume."""

    def __init__(self, target: Path, previous: Previous | None) -> None:
        self.target = target
        self.previous = previous
        self.linked = 0

    def take_file(self, entry: Entry, content: IO[bytes]) -> str:
        target = self.target / entry.path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sha256 = write_content(content, target)
        os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
        self.share_unchanged(entry, sha256, target)
        return sha256

    def share_unchanged(self, entry: Entry, sha256: str, target: Path) -> None:
        """Put the older snapshot's file in place of a copy that equals it."""
        old = self.previous.inventory.get(entry.path) if self.previous is not None else None
        if self.previous is None or old is None or old.sha256 != sha256:
            return
        if old.mtime_ns // SECOND_NS != entry.mtime_ns // SECOND_NS:
            return
        shared = part_of(target)
        if link_stored(self.previous.files / entry.path, sha256, shared):
            shared.rename(target)
            self.linked += 1

    def lay_out(self, found: Inventory) -> None:
        """Make all that is no file, and the other names of files."""
        leaders = leaders_of(found)
        for entry in found.values():
            path = self.target / entry.path
            leader = leaders.get(entry.link_group, entry.path)
            match entry.type:
                case EntryType.DIRECTORY:
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
                case EntryType.SYMLINK:
                    path.symlink_to(entry.target)
                case EntryType.FILE if leader != entry.path:
                    path.hardlink_to(self.target / leader)
                case _:
                    pass


def write_content(content: IO[bytes], target: Path) -> str:
    """Fill a new file; returns its sha256."""
    digest = hashlib.sha256()
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(writing, "wb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
