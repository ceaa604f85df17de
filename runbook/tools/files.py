"""Files on disk: durable writes, copies that can be checked, and disk errors in plain words.

Whatever is written here is either whole under its name or not there at all. Whole trees stand in
archive.py.
"""

import ctypes
import ctypes.util
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from runbook.errors import StepError
from runbook.units import format_size

_CHUNK_BYTES = 1 << 20
_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file so that after a power cut it is the old one or the new one, whole."""
    part = part_of(path)
    with suppress(FileNotFoundError):
        part.unlink()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
    fsync_directory(path.parent)


def part_of(path: Path) -> Path:
    """The name that a file has until it is whole: beside it, always the same, never too long."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    readable = os.fsencode(path.name)[:100].decode("ascii", "replace").replace("\ufffd", "_")
    return path.with_name(f".{readable}.{digest}.part")


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Make everything on the file system of `path` durable: one call in place of thousands."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        syncfs = _libc_syncfs()
        if syncfs is None:
            os.sync()
        elif syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(descriptor)


@cache
def _libc_syncfs() -> Any:
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    return getattr(libc, "syncfs", None)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_directories(path: Path, *, mode: int = 0o700) -> None:
    """Make a directory and those above it that are missing, durably, with that mode."""
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        with suppress(FileExistsError):
            directory.mkdir(mode=mode)
        fsync_directory(directory.parent)


def copy_content(
    source: int, target: int, *, check: Callable[[], None] = lambda: None
) -> tuple[str, bool]:
    """Fill an empty file from another, both open: the content's sha256, and whether it was cloned.

    A clone (FICLONE) shares the blocks; where the file system cannot, the bytes are copied. `check`
    is called between chunks, and may raise.
    """
    is_clone = _clone(source, target)
    read_from = target if is_clone else source
    digest = hashlib.sha256()
    os.lseek(read_from, 0, os.SEEK_SET)
    while chunk := os.read(read_from, _CHUNK_BYTES):
        check()
        digest.update(chunk)
        if not is_clone:
            _write_all(target, chunk)
    return digest.hexdigest(), is_clone


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return False
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def copy_durably(source: Path, target: Path, *, mode: int = 0o600) -> str:
    """Copy a file to a name that it only gets once it is whole and on disk; returns its sha256."""
    part = part_of(target)
    with suppress(FileNotFoundError):
        part.unlink()
    try:
        sha256 = copy_to_new_file(source, part, mode=mode)
        part.rename(target)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
    fsync_directory(target.parent)
    return sha256


def copy_to_new_file(
    source: Path, target: Path, *, mode: int = 0o600, is_synced: bool = True
) -> str:
    """Copy a file's content to a name that is free; returns its sha256."""
    reading = os.open(source, os.O_RDONLY)
    try:
        writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        try:
            os.fchmod(writing, mode)
            sha256, _ = copy_content(reading, writing)
            if is_synced:
                os.fsync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    return sha256


def unwritable(path: Path) -> list[str]:
    """What a preflight says where we may not read and write what is, or will be, at `path`."""
    place = path.parent
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return [f"`{place}` is not a directory that we may write to"]
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return [f"`{path}` may not be read and written by us"]
    return []


def missing_room(path: Path, needed_bytes: int, purpose: str) -> list[str]:
    """What a preflight says where the disk lacks the room needed and a fifth of it."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes >= needed_bytes * 12 // 10:
        return []
    needed = format_size(needed_bytes * 12 // 10)
    return [f"{purpose} needs {needed} at `{path}`; {format_size(free_bytes)} are free"]


@contextmanager
def disk_errors(doing: str, *, changed: bool) -> Iterator[None]:
    """Put what the disk refuses into plain words, as a failed step.

    Raises:
        StepError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise translated(error, doing, changed=changed) from error


def translated(error: OSError, doing: str, *, changed: bool) -> StepError:
    """The failed step that an OSError stands for."""
    where = f" `{_shown(error.filename)}`" if error.filename is not None else ""
    if error.errno in _NO_ROOM:
        return StepError(
            f"no room left on the disk while {doing}{where}",
            hint="make room, then `runbook resume`",
            changed=changed,
        )
    return StepError(f"{os.strerror(error.errno or 0)} while {doing}{where}", changed=changed)


def _shown(filename: object) -> str:
    raw = os.fsencode(filename) if isinstance(filename, str | bytes | os.PathLike) else b"?"
    return raw.decode("utf-8", "backslashreplace")
