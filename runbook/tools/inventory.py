"""Inventories: what lies in a directory, entry by entry, as recorded and as it is.

An entry says all that a restore must bring back. Reading and comparing only; archive.py writes.
"""

import base64
import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from runbook.errors import Unfit

ROOT = ""
"""The path of the directory itself in its own inventory."""

CAPABILITY = "security.capability"
"""The attribute that holds what a program may do without being root."""

XATTRS = ("user.", "system.posix_acl_", CAPABILITY)
"""What the names of the attributes begin with that are recorded."""


class EntryType(StrEnum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    SPECIAL = "special"
    """A socket, pipe or device: holds no data; recorded, never copied, never made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a directory tree."""

    path: str
    """Relative to the tree; bytes that are no text stand in it as `os.fsdecode` puts them."""
    type: EntryType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size_bytes: int = 0
    """Files only."""
    sha256: str = ""
    """Files only; empty in a scan, which reads no content."""
    target: str = ""
    """Symbolic links only."""
    link_group: int = 0
    """Files with the same number other than 0 are one file under several names."""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    ctime_ns: int = 0
    inode: int = 0

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal as long as nobody has touched the entry."""
        return (self.type, self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode)

    def is_same_content(self, other: "Entry") -> bool:
        """Whether both certainly hold the same, as far as can be told without reading."""
        if self.type is EntryType.FILE:
            return self.signature == other.signature
        return self.type is other.type and self.target == other.target

    def is_same_metadata(self, other: "Entry") -> bool:
        """Whether all but the content is as in the other."""
        if self.type is EntryType.SYMLINK:
            return (self.uid, self.gid) == (other.uid, other.gid)
        mine = (self.mode, self.uid, self.gid, self.mtime_ns, self.xattrs)
        return mine == (other.mode, other.uid, other.gid, other.mtime_ns, other.xattrs)


Inventory = dict[str, Entry]
"""Entries by path, each directory before what is in it."""


def scan(tree: Path, *, ignored: Callable[[str], bool], check: Callable[[], None]) -> Inventory:
    """Every entry of a tree by its metadata; no content is read. Raises OSError.

    What vanishes while it is looked at is left out. `ignored` is asked with an entry's bare name.
    """
    found: Inventory = {ROOT: _entry(tree, ROOT)}
    groups: dict[int, int] = {}
    pending = [ROOT]
    while pending:
        check()
        directory = pending.pop()
        for name in _names(tree / directory):
            path = f"{directory}/{name}" if directory else name
            entry = None if ignored(name) else entry_if_there(tree / path, path)
            if entry is None:
                continue
            if entry.link_group:
                group = groups.setdefault(entry.inode, len(groups) + 1)
                entry = replace(entry, link_group=group)
            found[path] = entry
            if entry.type is EntryType.DIRECTORY:
                pending.append(path)
    return found


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def entry_if_there(full: Path, path: str, *, looks: int = 3) -> Entry | None:
    """The entry that stands there now; None where nothing does. Its link group is not known."""
    try:
        return _entry(full, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # A symbolic link that has become something else since it was looked at.
        if error.errno != errno.EINVAL or looks == 1:
            raise
        return entry_if_there(full, path, looks=looks - 1)


def _entry(full: Path, path: str) -> Entry:
    status = full.lstat()
    kind = _type(status.st_mode)
    is_file = kind is EntryType.FILE
    return Entry(
        path=path,
        type=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size_bytes=status.st_size if is_file else 0,
        target=str(full.readlink()) if kind is EntryType.SYMLINK else "",
        link_group=1 if is_file and status.st_nlink > 1 else 0,
        xattrs=_xattrs(full) if kind in (EntryType.FILE, EntryType.DIRECTORY) else {},
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )


def _type(mode: int) -> EntryType:
    if stat.S_ISREG(mode):
        return EntryType.FILE
    if stat.S_ISDIR(mode):
        return EntryType.DIRECTORY
    if stat.S_ISLNK(mode):
        return EntryType.SYMLINK
    return EntryType.SPECIAL


def _xattrs(full: Path) -> dict[str, bytes]:
    try:
        names = [name for name in sorted(os.listxattr(full)) if name.startswith(XATTRS)]
        return {name: os.getxattr(full, name) for name in names}
    except OSError:
        return {}  # a file system without them, or a name that another user may not read


def encode(inventory: Inventory) -> bytes:
    """One JSON object a line, the directory itself first."""
    lines = (json.dumps(_to_json(entry), sort_keys=True) for entry in inventory.values())
    return "".join(f"{line}\n" for line in lines).encode()


def decode(data: bytes, *, where: Path) -> Inventory:
    """The inventory that `encode` wrote.

    Raises:
        Unfit: it is damaged, or of an unknown form.
    """
    try:
        entries = [_from_json(json.loads(line)) for line in data.splitlines()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unfit(f"inventory `{where}` is damaged: {error}") from error
    if not entries or entries[0].path != ROOT or not all(_is_inside(e.path) for e in entries):
        raise Unfit(f"inventory `{where}` is damaged: it names what lies outside of its directory")
    return {entry.path: entry for entry in entries}


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")


def tree_sha256(inventory: Inventory) -> str:
    """One hash for all that a restore brings back: equal trees have equal ones."""
    digest = hashlib.sha256()
    for entry in sorted(inventory.values(), key=lambda entry: entry.path):
        bare = _to_json(replace(entry, ctime_ns=0, inode=0))
        digest.update(json.dumps(bare, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def content_bytes(entries: Iterable[Entry]) -> int:
    """How much room the files among the entries take."""
    return sum(entry.size_bytes for entry in entries)


def _to_json(entry: Entry) -> dict[str, object]:
    fields = {name: value for name, value in asdict(entry).items() if value or name == "path"}
    fields["type"] = str(entry.type)
    fields["mode"] = f"{entry.mode:04o}"
    if entry.xattrs:
        fields["xattrs"] = {k: base64.b64encode(v).decode() for k, v in entry.xattrs.items()}
    for name in ("path", "target"):
        if name in fields:
            fields.update(_text_or_base64(name, os.fsencode(fields.pop(name))))
    return fields


def _text_or_base64(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def _from_json(fields: dict[str, object]) -> Entry:
    numbers = {
        name: _number(fields.get(name, 0))
        for name in ("uid", "gid", "mtime_ns", "size_bytes", "link_group", "ctime_ns", "inode")
    }
    xattrs = fields.get("xattrs", {})
    if not isinstance(xattrs, dict):
        raise TypeError(f"expected extended attributes by name, found `{xattrs}`")
    return Entry(
        path=_name(fields, "path"),
        type=EntryType(str(fields["type"])),
        mode=int(str(fields["mode"]), 8),
        sha256=str(fields.get("sha256", "")),
        target=_name(fields, "target"),
        xattrs={str(name): base64.b64decode(value) for name, value in xattrs.items()},
        **numbers,
    )


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, found `{value}`")
    return value


def _name(fields: dict[str, object], name: str) -> str:
    if f"{name}_base64" in fields:
        return os.fsdecode(base64.b64decode(str(fields[f"{name}_base64"])))
    return os.fsdecode(str(fields.get(name, "")).encode())


def deepest_first(paths: Iterable[str]) -> Iterator[str]:
    """What is in a directory before the directory."""
    yield from sorted(paths, key=lambda path: (path.count("/") + bool(path), path), reverse=True)
