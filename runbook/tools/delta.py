"""Bringing a directory back to an inventory: what differs, and writing only that.

Convergent: killed anywhere, the same call again goes on. Whatever it overwrites or deletes lies in
the `kept` directory before the first change.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from runbook.errors import StepError
from runbook.tools.archive import STAGED_PREFIX, set_metadata
from runbook.tools.difference import Delta, as_far_as_allowed, compare, leaders_of
from runbook.tools.files import copy_to_new_file, disk_errors, sync_file_system
from runbook.tools.inventory import (
    ROOT,
    Entry,
    EntryType,
    Inventory,
    deepest_first,
    entry_if_there,
    scan,
)
from runbook.tools.kept import Kept

_FILES_A_SYNC = 256


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
    kept: Kept
    """Where what is overwritten or deleted is kept."""
    operation: str
    """Names the unfinished files."""
    is_coarse: bool
    """Whether the inventory was taken through the engine."""
    check: Callable[[], None]

    def run(self) -> Restored:
        """Bring it back; returns once all of it is on disk and has been compared again.

        Raises:
            StepError: the disk refuses, the files are damaged, or somebody writes meanwhile.
        """
        with disk_errors(f"comparing `{self.tree}`", changed=False):
            self._remove_own_leftovers()
            delta = self._compare()
        if delta.is_empty:
            return Restored(0, 0, 0)
        with disk_errors("keeping what will be replaced", changed=False):
            self._keep_all(delta.replaced)
        with disk_errors(f"restoring `{self.tree}`", changed=True):
            self._apply(delta)
            left = self._compare()
        if not left.is_empty:
            first = (*left.written, *left.extras, *left.adjusted)[0]
            raise StepError(
                f"`{self.tree / first}` was changed while `{self.tree}` was being restored",
                hint="stop what writes to it, then `runbook resume`",
            )
        return Restored(len(delta.written), len(delta.extras), len(delta.adjusted))

    def _compare(self) -> Delta:
        return compare(self.tree, self.wanted, check=self.check, is_coarse=self.is_coarse)

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
        for entry in replaced:
            self.check()
            self._keep(entry)
        self.kept.sync()

    def _keep(self, entry: Entry) -> None:
        if entry.type is not EntryType.SPECIAL:
            self.kept.keep(entry, self.tree / entry.path)

    def _keep_if_touched(self, entry: Entry) -> None:
        """What was written since it was kept is kept as well."""
        now = entry_if_there(self.tree / entry.path, entry.path)
        if now is not None and now.signature != entry.signature and now.type is EntryType.FILE:
            self._keep(now)
            self.kept.sync()

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
        leaders = leaders_of(self.wanted)
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
                self._set(path)
        directories = [p for p, e in self.wanted.items() if e.type is EntryType.DIRECTORY]
        for path in deepest_first(directories):
            self._set(path)

    def _set(self, path: str) -> None:
        now = entry_if_there(self.tree / path, path)
        if now is None:
            return
        entry = as_far_as_allowed(self.wanted[path], now, is_coarse=self.is_coarse)
        if not entry.is_same_metadata(now):
            set_metadata(self.tree / path, entry)
