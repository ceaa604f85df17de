"""Trees of files as tar streams, as a container engine's archive call speaks them.

Nothing is unpacked: what is read becomes an inventory, and whoever reads takes the contents.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import IO, cast

from runbook.errors import StepError
from runbook.tools.inventory import ROOT, XATTRS, Entry, EntryType, Inventory

_XATTR = "SCHILY.xattr."
_END = bytes(1024)
_CHUNK_BYTES = 1 << 20
_ENCODING, _ERRORS = "utf-8", "surrogateescape"


class TornArchive(Exception):
    """A stream that does not end as archives do: the engine met a file that it could not read."""


# --- reading --------------------------------------------------------------------------------

TakeContent = Callable[[Entry, IO[bytes]], str]
"""Takes a file's content; returns its sha256."""


def hash_only(entry: Entry, content: IO[bytes]) -> str:
    """Takes nothing."""
    assert entry.type is EntryType.FILE
    return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]


def read_tree(
    chunks: Iterable[bytes], *, ignored: Callable[[str], bool], take: TakeContent
) -> Inventory:
    """The inventory of an archive of one directory, whose files are taken one by one.

    Of files that are one under several names the first is taken. `ignored` is asked with an
    entry's bare name.

    Raises:
        TornArchive: it ends too early.
    """
    stream = _Stream(chunks)
    found: Inventory = {}
    groups: dict[str, int] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|", encoding=_ENCODING, errors=_ERRORS) as archive:
            for member in archive:
                path = _inside(member.name)
                if path != ROOT and ignored(PurePosixPath(path).name):
                    continue
                if member.islnk():
                    _add_link(found, groups, path, _inside(member.linkname))
                    continue
                entry = _entry(member, path)
                if entry.type is EntryType.FILE:
                    content = cast("IO[bytes]", archive.extractfile(member))
                    entry = replace(entry, sha256=take(entry, content))
                found[path] = entry
    except tarfile.TarError as error:
        raise TornArchive(str(error)) from error
    stream.require_end()
    return found


def _inside(name: str) -> str:
    """A member's path without the directory that the archive is of."""
    top, _, path = name.rstrip("/").partition("/")
    if top in ("", "..") or ".." in path.split("/"):
        raise StepError(f"the engine's archive names what lies outside of it: `{name!a}`")
    return path


def _add_link(found: Inventory, groups: dict[str, int], path: str, leader: str) -> None:
    if leader not in found:
        raise TornArchive(f"a link to `{leader!a}`, which is not there")
    group = groups.setdefault(leader, len(groups) + 1)
    found[leader] = replace(found[leader], link_group=group)
    found[path] = replace(found[leader], path=path)


def _entry(member: tarfile.TarInfo, path: str) -> Entry:
    kind = _type(member)
    is_attributed = kind in (EntryType.FILE, EntryType.DIRECTORY)
    return Entry(
        path=path,
        type=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime_ns=int(Decimal(member.pax_headers.get("mtime", int(member.mtime))) * 10**9),
        size_bytes=member.size if kind is EntryType.FILE else 0,
        target=member.linkname if kind is EntryType.SYMLINK else "",
        xattrs=_xattrs(member) if is_attributed else {},
    )


def _type(member: tarfile.TarInfo) -> EntryType:
    if member.isreg():
        return EntryType.FILE
    if member.isdir():
        return EntryType.DIRECTORY
    return EntryType.SYMLINK if member.issym() else EntryType.SPECIAL


def _xattrs(member: tarfile.TarInfo) -> dict[str, bytes]:
    found = {
        key.removeprefix(_XATTR): os.fsencode(value)
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
    return {name: found[name] for name in sorted(found) if name.startswith(XATTRS)}


class _Stream(io.RawIOBase):
    """Chunks as a file, which remembers how it ended."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = iter(chunks)
        self.rest = b""
        self.tail = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self.rest:
            self.rest = next(self.chunks, b"")
            self.tail = (self.tail + self.rest)[-len(_END) :]
        taken = self.rest[: len(buffer)]
        self.rest = self.rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def require_end(self) -> None:
        while self.read(_CHUNK_BYTES):
            pass
        if self.tail != _END:
            raise TornArchive("it ends too early")


# --- writing --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A name in an archive that is written."""

    name: str
    entry: Entry
    """What it is to be; its path does not matter."""
    content: Path | bytes = b""
    """Of files."""
    link_to: str = ""
    """The member, or what lies there already, that it is another name of; files only."""


def pack(members: Iterable[Member]) -> Iterator[bytes]:
    """An archive, piece by piece.

    Raises:
        StepError: a file's content is not what its entry says.
    """
    for member in members:
        yield _header(member)
        if member.entry.type is EntryType.FILE and not member.link_to:
            yield from _content(member)
    yield _END


def _header(member: Member) -> bytes:
    entry = member.entry
    info = tarfile.TarInfo(member.name)
    info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
    info.mtime = entry.mtime_ns // 10**9
    info.pax_headers = {"mtime": f"{Decimal(entry.mtime_ns).scaleb(-9):f}"}
    for name, value in entry.xattrs.items():
        info.pax_headers[_XATTR + name] = os.fsdecode(value)
    match entry.type:
        case EntryType.FILE if member.link_to:
            info.type, info.linkname = tarfile.LNKTYPE, member.link_to
        case EntryType.FILE:
            info.type, info.size = tarfile.REGTYPE, entry.size_bytes
        case EntryType.DIRECTORY:
            info.type = tarfile.DIRTYPE
        case EntryType.SYMLINK:
            info.type, info.linkname = tarfile.SYMTYPE, entry.target
        case EntryType.SPECIAL:
            raise AssertionError(entry)
    return info.tobuf(tarfile.PAX_FORMAT, _ENCODING, _ERRORS)


def _content(member: Member) -> Iterator[bytes]:
    content = member.content
    left = member.entry.size_bytes
    digest = hashlib.sha256()
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
    if left or digest.hexdigest() != member.entry.sha256:
        raise StepError(f"the restore point's `{content!s}` is damaged: its sha256 differs")
    yield bytes(-member.entry.size_bytes % tarfile.BLOCKSIZE)
