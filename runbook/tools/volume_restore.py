"""Bringing a volume that only its engine can reach back to an inventory; delta.py's counterpart.

What differs is unpacked beside the live files, in the volume itself, and a script renames it into
place. Convergent: killed anywhere, the same call again goes on. Whatever is overwritten or deleted
lies in `kept` before the first change.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import IO

from runbook.errors import StepError
from runbook.tools.archive import STAGED_PREFIX
from runbook.tools.delta import Restored
from runbook.tools.difference import Delta, as_the_engine_tells, difference, leaders_of
from runbook.tools.files import disk_errors, make_directories, write_durably
from runbook.tools.helper_containers import INSIDE, Helper
from runbook.tools.inventory import (
    ROOT,
    Entry,
    EntryType,
    Inventory,
    decode,
    deepest_first,
    encode,
)
from runbook.tools.kept import Kept
from runbook.tools.tar_stream import Member, TakeContent, TornArchive, hash_only, read_tree
from runbook.tools.volume_snapshot import write_content

_NAMES_A_COMMAND = 100
_HEAD = f"""\
set -eu
PATH=/bin:/usr/bin:/sbin:/usr/sbin
cd /{INSIDE}
remove_directory() {{  # with its sockets, of which the engine does not tell
    for each in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        if [ -S "$each" ]; then rm -f "$each"; fi
    done
    rmdir "$1"
}}
sync
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRestore:
    """A volume to be brought back."""

    helper: Helper
    name: str
    """What people call the volume."""
    wanted: Inventory
    files: Path
    """Where the contents lie."""
    kept: Kept
    """Where what is overwritten or deleted is kept."""
    spool: Path
    """Where one live file at a time may lie."""
    operation: str
    """Names the unfinished files."""
    check: Callable[[], None]

    def run(self) -> Restored:
        """Bring it back; returns once all of it is on disk and has been compared again.

        Raises:
            StepError: a disk refuses, the files are damaged, or somebody writes meanwhile.
        """
        with disk_errors("keeping what will be replaced", changed=False):
            delta = self._differing_from(self._read_and_keep())
            self._keep_all(delta)
        if delta.is_empty:
            return Restored(0, 0, 0)
        with disk_errors("reading the restore point", changed=True):
            self._apply(delta)
        left = self._differing_from(read_live(self.helper, self.name))
        if not left.is_empty:
            first = (*left.written, *left.extras, *left.adjusted)[0]
            raise StepError(
                f"`{first}` was changed while volume `{self.name}` was being restored",
                hint="stop what writes to it, then `runbook resume`",
            )
        return Restored(len(delta.written), len(delta.extras), len(delta.adjusted))

    @property
    def _prefix(self) -> str:
        return f"{STAGED_PREFIX}{self.operation}-"

    def _is_own(self, path: str) -> bool:
        return PurePosixPath(path).name.startswith(self._prefix)

    def _differing_from(self, found: Inventory) -> Delta:
        return compare_told(found, self.wanted, check=self.check)

    # --- keeping --------------------------------------------------------------------------

    def _read_and_keep(self) -> Inventory:
        """The live files, once nothing of an earlier attempt is among them or linked to them."""
        found = read_live(self.helper, self.name, take=self._take)
        leftovers = [path for path in found if self._is_own(path)]
        if not leftovers:
            return found
        script = "\n".join([_HEAD, *_many("rm -f", leftovers), ""])
        self.helper.run(os.fsencode(script))
        return read_live(self.helper, self.name, take=self._take)

    def _take(self, entry: Entry, content: IO[bytes]) -> str:
        """Keep a file, unless the restore point holds the same at its path."""
        if self._is_own(entry.path):
            return hash_only(entry, content)
        self.spool.unlink(missing_ok=True)
        sha256 = write_content(content, self.spool)
        if not self._is_stored(replace(entry, sha256=sha256)):
            self._keep(entry, self.spool)
        self.spool.unlink()
        return sha256

    def _is_stored(self, entry: Entry) -> bool:
        wanted = self.wanted.get(entry.path)
        return wanted is not None and wanted.type is entry.type and wanted.sha256 == entry.sha256

    def _keep(self, entry: Entry, source: Path) -> None:
        # Only root could give it its owner and its rights: these stand in the inventory.
        readable = replace(entry, mode=entry.mode & 0o777 | 0o600, xattrs={})
        self.kept.keep(readable, source)

    def _keep_all(self, delta: Delta) -> None:
        """Keep what else is replaced: directories, symbolic links, further names of files."""
        leaders = leaders_of(delta.live)
        for entry in delta.replaced:
            self.check()
            leader = leaders.get(entry.link_group, entry.path)
            match entry.type:
                case EntryType.FILE if leader != entry.path and not self._is_stored(entry):
                    self._keep(entry, self._copy_of(delta.live[leader]))
                case EntryType.DIRECTORY | EntryType.SYMLINK:
                    self._keep(entry, self.kept.directory)
                case _:
                    pass
        if delta.replaced:
            self._keep_inventory(delta)
            self.kept.sync()

    def _copy_of(self, leader: Entry) -> Path:
        if self._is_stored(leader):
            return self.files / leader.path
        found = self.kept.find(leader.path, leader.sha256)
        assert found is not None, leader.path
        return found

    def _keep_inventory(self, delta: Delta) -> None:
        """Record owners, modes and times of all that is kept; what was recorded first stays."""
        path = self.kept.directory / "inventory.jsonl"
        recorded = decode(path.read_bytes(), where=path) if path.exists() else {}
        replaced = {entry.path: entry for entry in delta.replaced}
        make_directories(path.parent)
        write_durably(path, encode({ROOT: delta.live[ROOT]} | replaced | recorded))

    # --- writing --------------------------------------------------------------------------

    def _apply(self, delta: Delta) -> None:
        touched = [self.wanted[path] for path in (*delta.written, *delta.adjusted)]
        staged = {
            entry.path: f"{self._prefix}{number}"
            for number, entry in enumerate(touched)
            if entry.type in (EntryType.FILE, EntryType.SYMLINK)
        }
        script = "\n".join([_HEAD, *self._commands(delta, staged), self._tidy, ""])
        try:
            self.helper.write(self._staged(staged))
            self.helper.run(os.fsencode(script))
        except StepError:
            with suppress(StepError):
                self.helper.run(os.fsencode(f"{_HEAD}{self._tidy}\n"))
            raise
        self.helper.write(
            Member(name=f"{INSIDE}/{entry.path}".rstrip("/"), entry=entry)
            for entry in self.wanted.values()
            if entry.type is EntryType.DIRECTORY
        )
        self.helper.run(os.fsencode(_HEAD))  # which syncs

    @property
    def _tidy(self) -> str:
        return f"rm -f ./{quote(self._prefix)}*\nsync"

    def _staged(self, staged: dict[str, str]) -> Iterator[Member]:
        """What is to be renamed, by path; the first name of a file before the others."""
        leaders = leaders_of(self.wanted)
        others = []
        for path, name in staged.items():
            entry = self.wanted[path]
            leader = leaders.get(entry.link_group, path)
            link_to = "" if leader == path else f"{INSIDE}/{staged.get(leader, leader)}"
            content = self.files / path
            member = Member(name=f"{INSIDE}/{name}", entry=entry, content=content, link_to=link_to)
            if link_to:
                others.append(member)
            else:
                yield member
        yield from others

    def _commands(self, delta: Delta, staged: dict[str, str]) -> Iterator[str]:
        in_the_way = [
            path
            for path in (*delta.written, *delta.adjusted)
            if path in delta.live and _is_in_the_way(delta.live[path], self.wanted[path])
        ]
        gone = [delta.live[path] for path in deepest_first({*delta.extras, *in_the_way})]
        plain = [entry.path for entry in gone if entry.type is not EntryType.DIRECTORY]
        yield from _many("rm -f", plain)
        for entry in gone:
            if entry.type is EntryType.DIRECTORY:
                yield f"remove_directory {_quoted(entry.path)}"
        directories = [p for p in delta.written if self.wanted[p].type is EntryType.DIRECTORY]
        yield from _many("mkdir -m 700", directories)
        for path, name in staged.items():
            yield f"mv -f {_quoted(name)} {_quoted(path)}"


def read_live(helper: Helper, name: str, *, take: TakeContent = hash_only) -> Inventory:
    """All of a volume as the engine tells of it; raises StepError."""
    try:
        return read_tree(helper.read(), ignored=lambda _: False, take=take)
    except TornArchive as error:
        raise StepError(
            f"not all of volume `{name}` can be read: {error}",
            hint="stop what writes to it, then `runbook resume`",
        ) from error


def compare_told(found: Inventory, wanted: Inventory, *, check: Callable[[], None]) -> Delta:
    """In what a volume differs, as far as the engine tells."""
    leaders = leaders_of(found)
    numbers = {path: number for number, path in enumerate(found, start=1)}
    live = {
        path: replace(entry, inode=numbers[leaders.get(entry.link_group, path)])
        for path, entry in found.items()
    }
    return difference(
        live,
        wanted,
        sha256=lambda entry: entry.sha256,
        fit=as_the_engine_tells,
        check=check,
    )


def _is_in_the_way(live: Entry, wanted: Entry) -> bool:
    """Whether it must go first: mv(1) would follow a link to a directory."""
    return live.type is not wanted.type or live.type is EntryType.SYMLINK


def _many(command: str, paths: list[str]) -> Iterator[str]:
    for start in range(0, len(paths), _NAMES_A_COMMAND):
        yield " ".join([command, *map(_quoted, paths[start : start + _NAMES_A_COMMAND])])


def _quoted(path: str) -> str:
    return quote(f"./{path}")
