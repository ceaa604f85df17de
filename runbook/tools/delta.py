"""Bringing a directory back to an inventory: what differs, and writing only that.

Convergent: killed anywhere, the same call again goes on. Whatever it overwrites or deletes lies in
the `kept` directory before the first change.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

from runbook.errors import StepError
from runbook.tools.archive import STAGED_PREFIX
from runbook.tools.files import (
    copy_to_new_file,
    disk_errors,
    make_directories,
    part_of,
    sha256_of,
    sync_file_system,
)
from runbook.tools.inventory import (
    ROOT,
    Entry,
    EntryType,
    Inventory,
    deepest_first,
    entry_if_there,
    scan,
)

_FILES_A_SYNC = 256


@dataclass(frozen=True, slots=True)
class Delta:
    """In what a directory differs from an inventory."""

    live: Inventory
    written: tuple[str, ...]
    """Paths whose content, type or links are to be brought back."""
    extras: tuple[str, ...]
    """Paths that the inventory does not have."""
    adjusted: tuple[str, ...]
    """Paths of which only mode, owner, times or attributes differ."""

    @property
    def is_empty(self) -> bool:
        """Whether the directory is as the inventory says."""
        return not (self.written or self.extras or self.adjusted)

    @property
    def replaced(self) -> list[Entry]:
        """What stands there now and would be overwritten or deleted."""
        return [self.live[path] for path in (*self.extras, *self.written) if path in self.live]


def compare(
    tree: Path,
    wanted: Inventory,
    *,
    check: Callable[[], None],
    reads_content: bool = True,
) -> Delta:
    """What differs. Raises OSError.

    A file that was touched is read, unless told not to: then it counts as differing.
    """
    live: Inventory = {}
    if tree.is_dir():
        live = scan(tree, ignored=lambda _: False, check=check)
    comparing = _Comparing(tree, wanted, live, reads_content=reads_content)
    written, adjusted = [], []
    for entry in wanted.values():
        check()
        have = live.get(entry.path)
        if entry.type is EntryType.SPECIAL and (have is None or have.type is EntryType.SPECIAL):
            continue
        if have is None or not comparing.is_same(entry, have):
            written.append(entry.path)
        elif not as_far_as_allowed(entry, have).is_same_metadata(have):
            adjusted.append(entry.path)
    extras = tuple(path for path in live if path not in wanted)
    return Delta(live, tuple(written), extras, tuple(adjusted))


class _Comparing:
    def __init__(
        self, tree: Path, wanted: Inventory, live: Inventory, *, reads_content: bool
    ) -> None:
        self.tree = tree
        self.live = live
        self.reads_content = reads_content
        self.leaders = _leaders(wanted)
        self.claimed: dict[int, str] = {}
        """By inode, the leader of the files that may share it."""

    def is_same(self, entry: Entry, have: Entry) -> bool:
        if entry.is_same_content(have):
            return entry.type is not EntryType.FILE or self.is_linked_alike(entry, have)
        if entry.type is not EntryType.FILE or have.type is not EntryType.FILE:
            return False
        if entry.size_bytes != have.size_bytes or not self.reads_content:
            return False
        is_same = sha256_of(self.tree / entry.path) == entry.sha256
        return is_same and self.is_linked_alike(entry, have)

    def is_linked_alike(self, entry: Entry, have: Entry) -> bool:
        leader = self.leaders.get(entry.link_group, entry.path)
        if self.claimed.setdefault(have.inode, leader) != leader:
            return False
        standing = self.live.get(leader)
        return standing is not None and standing.inode == have.inode


def _leaders(wanted: Inventory) -> dict[int, str]:
    """By link group, the path that its other paths are linked to."""
    leaders: dict[int, str] = {}
    for entry in wanted.values():
        if entry.link_group:
            leaders.setdefault(entry.link_group, entry.path)
    return leaders


def as_far_as_allowed(entry: Entry, have: Entry) -> Entry:
    """The entry with the owner that it has now, where only root could give it another."""
    return entry if os.geteuid() == 0 else replace(entry, uid=have.uid, gid=have.gid)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    written: int
    removed: int
    adjusted: int

    @property
    def is_change(self) -> bool:
        """Whether it did anything."""
        return bool(self.written or self.removed or self.adjusted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A directory to be brought back."""

    tree: Path
    wanted: Inventory
    files: Path
    """Where the contents lie."""
    kept: Path
    """Where what is overwritten or deleted is kept."""
    operation: str
    """Names the unfinished files."""
    check: Callable[[], None]

    def run(self) -> Restored:
        """Bring it back; returns once all of it is on disk and has been compared again.

        Raises:
            StepError: the disk refuses, the files are damaged, or somebody writes meanwhile.
        """
        with disk_errors(f"comparing `{self.tree}`", changed=False):
            self._remove_own_leftovers()
            delta = compare(self.tree, self.wanted, check=self.check)
        if delta.is_empty:
            return Restored(0, 0, 0)
        with disk_errors("keeping what will be replaced", changed=False):
            self._keep_all(delta.replaced)
        with disk_errors(f"restoring `{self.tree}`", changed=True):
            self._apply(delta)
            left = compare(self.tree, self.wanted, check=self.check)
        if not left.is_empty:
            first = (*left.written, *left.extras, *left.adjusted)[0]
            raise StepError(
                f"`{self.tree / first}` was changed while `{self.tree}` was being restored",
                hint="stop what writes to it, then `runbook resume`",
            )
        return Restored(len(delta.written), len(delta.extras), len(delta.adjusted))

    def _apply(self, delta: Delta) -> None:
        try:
            self._open_directories(delta)
            self._remove(delta)
            self._write(delta)
        except OSError:
            with suppress(OSError):
                self._remove_own_leftovers()
            raise
        self._adjust(delta.adjusted)
        sync_file_system(self.tree)

    def _open_directories(self, delta: Delta) -> None:
        """Let the owner write where root could anyway; `_adjust` sets the modes that are wanted."""
        touched = {str(Path(path).parent) for path in (*delta.written, *delta.extras)}
        for parent in touched:
            entry = delta.live.get(ROOT if parent == "." else parent)
            if entry and entry.type is EntryType.DIRECTORY and entry.mode & 0o700 != 0o700:
                (self.tree / entry.path).chmod(entry.mode | 0o700)

    def _remove_own_leftovers(self) -> None:
        if not self.tree.is_dir():
            return
        prefix = self._prefix
        for path in scan(self.tree, ignored=lambda _: False, check=self.check):
            if Path(path).name.startswith(prefix):
                (self.tree / path).unlink(missing_ok=True)

    @property
    def _prefix(self) -> str:
        return f"{STAGED_PREFIX}{self.operation}-"

    def _keep_all(self, replaced: Iterable[Entry]) -> None:
        make_directories(self.kept)
        for entry in replaced:
            self.check()
            self._keep(entry)
        sync_file_system(self.kept)

    def _keep(self, entry: Entry) -> None:
        """Copy it aside; what an earlier attempt has kept is never overwritten: `files-2` then."""
        if entry.type is EntryType.SPECIAL:
            return
        live = self.tree / entry.path
        for number in count(1):
            kept = self.kept / ("files" if number == 1 else f"files-{number}") / entry.path
            if _holds(kept, live, entry):
                return
            if not os.path.lexists(kept) and _make_parents(kept.parent):
                _place(live, kept, entry)
                return

    def _keep_if_touched(self, entry: Entry) -> None:
        """What was written since it was kept is kept as well."""
        now = entry_if_there(self.tree / entry.path, entry.path)
        if now is not None and now.signature != entry.signature and now.type is EntryType.FILE:
            self._keep(now)
            sync_file_system(self.kept)

    def _remove(self, delta: Delta) -> None:
        in_the_way = [
            path
            for path in delta.written
            if path in delta.live and delta.live[path].type is not self.wanted[path].type
        ]
        for path in deepest_first([*delta.extras, *in_the_way]):
            self.check()
            entry = delta.live[path]
            if entry.type is EntryType.DIRECTORY:
                (self.tree / path).rmdir()
            else:
                self._keep_if_touched(entry)
                (self.tree / path).unlink(missing_ok=True)

    def _write(self, delta: Delta) -> None:
        wanted = [self.wanted[path] for path in delta.written]
        for entry in wanted:
            if entry.type is EntryType.DIRECTORY:
                (self.tree / entry.path).mkdir(mode=0o700, parents=entry.path == ROOT)
        leaders = _leaders(self.wanted)
        numbers = count(1)
        lone = [e for e in wanted if leaders.get(e.link_group, e.path) == e.path]
        contents = (e for e in lone if e.type in (EntryType.FILE, EntryType.SYMLINK))
        while batch := list(islice(contents, _FILES_A_SYNC)):
            staged = [(entry, self._stage(entry, next(numbers))) for entry in batch]
            sync_file_system(self.tree)
            for entry, path in staged:
                self._commit(path, entry, delta)
        for entry in wanted:
            if entry.type is EntryType.FILE and leaders.get(entry.link_group, "") != entry.path:
                self._link(entry, leaders, next(numbers), delta)

    def _stage(self, entry: Entry, number: int) -> Path:
        self.check()
        staged = (self.tree / entry.path).with_name(f"{self._prefix}{number}")
        if entry.type is EntryType.SYMLINK:
            staged.symlink_to(entry.target)
        else:
            self._stage_content(self.files / entry.path, staged, entry.sha256)
        set_metadata(staged, entry)
        return staged

    def _stage_content(self, source: Path, staged: Path, sha256: str) -> None:
        if copy_to_new_file(source, staged, is_synced=False) != sha256:
            staged.unlink()
            raise StepError(f"the restore point's `{source}` is damaged: its sha256 differs")

    def _link(self, entry: Entry, leaders: dict[int, str], number: int, delta: Delta) -> None:
        leader = leaders.get(entry.link_group)
        if leader is None:
            return
        staged = (self.tree / entry.path).with_name(f"{self._prefix}{number}")
        staged.hardlink_to(self.tree / leader)
        self._commit(staged, entry, delta)

    def _commit(self, staged: Path, entry: Entry, delta: Delta) -> None:
        target = self.tree / entry.path
        if entry.path in delta.live:
            self._keep_if_touched(delta.live[entry.path])
        staged.rename(target)
        # rename(2) does nothing where both names are the same file already.
        staged.unlink(missing_ok=True)

    def _adjust(self, adjusted: Iterable[str]) -> None:
        for path in adjusted:
            if self.wanted[path].type is not EntryType.DIRECTORY:
                set_metadata(self.tree / path, self.wanted[path])
        directories = [p for p, e in self.wanted.items() if e.type is EntryType.DIRECTORY]
        for path in deepest_first(directories):
            now = entry_if_there(self.tree / path, path)
            entry = self.wanted[path]
            if now is not None and not as_far_as_allowed(entry, now).is_same_metadata(now):
                set_metadata(self.tree / path, entry)


def _holds(kept: Path, live: Path, entry: Entry) -> bool:
    match entry.type:
        case EntryType.DIRECTORY:
            return kept.is_dir() and not kept.is_symlink()
        case EntryType.SYMLINK:
            return kept.is_symlink() and str(kept.readlink()) == entry.target
        case EntryType.FILE:
            is_file = kept.is_file() and not kept.is_symlink()
            is_candidate = is_file and kept.stat().st_size == live.stat().st_size
            return is_candidate and sha256_of(kept) == sha256_of(live)
        case EntryType.SPECIAL:
            return True


def _make_parents(directory: Path) -> bool:
    """False where something that was kept earlier is in the way."""
    try:
        make_directories(directory)
    except (NotADirectoryError, FileExistsError):
        return False
    return True


def _place(live: Path, kept: Path, entry: Entry) -> None:
    match entry.type:
        case EntryType.DIRECTORY:
            kept.mkdir(mode=0o700)
        case EntryType.SYMLINK:
            kept.symlink_to(entry.target)
        case EntryType.FILE:
            part = part_of(kept)
            part.unlink(missing_ok=True)
            copy_to_new_file(live, part, is_synced=False)
            set_metadata(part, entry)
            part.rename(kept)
        case EntryType.SPECIAL:
            pass


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
