"""In what a directory differs from an inventory, entry by entry; delta.py writes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from runbook.tools.files import sha256_of
from runbook.tools.inventory import CAPABILITY, Entry, EntryType, Inventory, scan

SECOND_NS = 1_000_000_000


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
    is_coarse: bool = False,
) -> Delta:
    """In what a directory that we can reach differs. Raises OSError.

    A file that was touched is read, unless told not to: then it counts as differing. `is_coarse`
    says that the inventory was taken through the engine; see `as_the_engine_tells`.
    """
    live: Inventory = {}
    if tree.is_dir():
        live = scan(tree, ignored=lambda _: False, check=check)
    return difference(
        live,
        wanted,
        sha256=lambda entry: sha256_of(tree / entry.path) if reads_content else "",
        fit=lambda entry, have: as_far_as_allowed(entry, have, is_coarse=is_coarse),
        check=check,
    )


def difference(
    live: Inventory,
    wanted: Inventory,
    *,
    sha256: Callable[[Entry], str],
    fit: Callable[[Entry, Entry], Entry],
    check: Callable[[], None],
) -> Delta:
    """In what one inventory differs from another.

    `sha256` is asked for a live file's content, `fit` for a wanted entry as far as it can come
    true in place of a live one.
    """
    comparing = _Comparing(wanted, live, sha256)
    written, adjusted = [], []
    for entry in wanted.values():
        check()
        have = live.get(entry.path)
        if entry.type is EntryType.SPECIAL and (have is None or have.type is EntryType.SPECIAL):
            continue
        if have is None or not comparing.is_same(entry, have):
            written.append(entry.path)
        elif not fit(entry, have).is_same_metadata(have):
            adjusted.append(entry.path)
    extras = tuple(path for path in live if path not in wanted)
    return Delta(live, tuple(written), extras, tuple(adjusted))


class _Comparing:
    def __init__(self, wanted: Inventory, live: Inventory, sha256: Callable[[Entry], str]) -> None:
        self.live = live
        self.sha256 = sha256
        self.leaders = leaders_of(wanted)
        self.claimed: dict[int, str] = {}
        """By inode, the leader of the files that may share it."""

    def is_same(self, entry: Entry, have: Entry) -> bool:
        if entry.is_same_content(have):
            return entry.type is not EntryType.FILE or self.is_linked_alike(entry, have)
        if entry.type is not EntryType.FILE or have.type is not EntryType.FILE:
            return False
        if entry.size_bytes != have.size_bytes:
            return False
        return self.sha256(have) == entry.sha256 and self.is_linked_alike(entry, have)

    def is_linked_alike(self, entry: Entry, have: Entry) -> bool:
        leader = self.leaders.get(entry.link_group, entry.path)
        if self.claimed.setdefault(have.inode, leader) != leader:
            return False
        standing = self.live.get(leader)
        return standing is not None and standing.inode == have.inode


def leaders_of(wanted: Inventory) -> dict[int, str]:
    """By link group, the path that its other paths are linked to."""
    leaders: dict[int, str] = {}
    for entry in wanted.values():
        if entry.link_group:
            leaders.setdefault(entry.link_group, entry.path)
    return leaders


def as_far_as_allowed(entry: Entry, have: Entry, *, is_coarse: bool) -> Entry:
    """The entry with the owner that it has now, where only root could give it another."""
    entry = as_the_engine_tells(entry, have) if is_coarse else entry
    return entry if os.geteuid() == 0 else replace(entry, uid=have.uid, gid=have.gid)


def as_the_engine_tells(entry: Entry, have: Entry) -> Entry:
    """The entry with that of `have` which the engine's archive does not carry.

    It carries times to the second, none before 1970, and no attributes but capabilities.
    """
    told = {name: value for name, value in entry.xattrs.items() if name == CAPABILITY}
    untold = {name: value for name, value in have.xattrs.items() if name != CAPABILITY}
    mtime_ns = max(0, entry.mtime_ns)
    if mtime_ns // SECOND_NS == max(0, have.mtime_ns) // SECOND_NS:
        mtime_ns = have.mtime_ns
    return replace(entry, mtime_ns=mtime_ns, xattrs=untold | told)
