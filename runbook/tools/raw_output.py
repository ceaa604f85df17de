"""What a supervised command prints, before the redactor has read it: in memory where possible.

It may hold secrets, so it lies on a tmpfs, mode 0600, and the command's directory only links to it.
"""

import ctypes
import ctypes.util
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LINK = "raw"
_STREAMS = ("stdout", "stderr")
_RELEASE_BYTES = 16 << 20
_KEEP_SIZE_PUNCH_HOLE = 3  # fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a stream, up to its end."""

    start: int
    """Where it begins: further on than asked for, where nobody had read for too long."""
    data: bytes

    @property
    def end(self) -> int:
        """Where the next piece begins."""
        return self.start + len(self.data)


class RawOutput:
    """The two streams of the command whose directory that is."""

    def __init__(self, directory: Path) -> None:
        self._link = directory / _LINK
        self._released = [0, 0]

    def create(self, environ: Mapping[str, str]) -> tuple[int, int]:
        """Make both files; returns descriptors to print to, which the caller closes."""
        place = _tmpfs(environ) or self._link.parent
        raw = place / f"runbook-{os.urandom(8).hex()}"
        # The link first: killed in between, nobody would know of a directory to remove.
        self._link.symlink_to(raw)
        raw.mkdir(mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
        stdout = os.open(raw / _STREAMS[0], flags, 0o600)
        try:
            return stdout, os.open(raw / _STREAMS[1], flags, 0o600)
        except OSError:
            os.close(stdout)
            raise

    def read(self, stream: int, offset: int) -> Piece:
        """What stdout (0) or stderr (1) holds from there on; what lies before counts as read."""
        try:
            descriptor = os.open(self._link / _STREAMS[stream], os.O_RDWR)
        except FileNotFoundError:
            return Piece(offset, b"")
        try:
            if offset - self._released[stream] >= _RELEASE_BYTES:
                _release(descriptor, offset)
                self._released[stream] = offset
            while True:
                start = _data_from(descriptor, offset)
                data = os.pread(descriptor, os.fstat(descriptor).st_size - start, start)
                # The supervisor may have given a part of it back in between.
                if _data_from(descriptor, start) == start:
                    return Piece(start, data)
        finally:
            os.close(descriptor)

    def begins_at(self, stream: int) -> int:
        """The first offset of a stream that has not been given back."""
        try:
            descriptor = os.open(self._link / _STREAMS[stream], os.O_RDONLY)
        except FileNotFoundError:
            return 0
        try:
            return _data_from(descriptor, 0)
        finally:
            os.close(descriptor)

    @property
    def is_lost(self) -> bool:
        """Whether it is gone although nobody discarded it: a reboot, or a logout."""
        return self._link.is_symlink() and not self._link.exists()

    def discard(self) -> None:
        """Remove it."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._link.readlink(), ignore_errors=True)
            self._link.unlink()


def _tmpfs(environ: Mapping[str, str]) -> Path | None:
    """A directory in memory that we may write to; None: there is none."""
    kinds = dict(line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines())
    for candidate in (environ.get("XDG_RUNTIME_DIR"), "/run", "/dev/shm"):
        if not candidate or not os.access(candidate, os.W_OK | os.X_OK):
            continue
        directory = Path(candidate).resolve()
        mounted = (kinds.get(str(d)) for d in (directory, *directory.parents))
        if next(filter(None, mounted), "") in {"tmpfs", "ramfs"}:
            return directory
    return None


def _data_from(descriptor: int, offset: int) -> int:
    """The first offset from there on that holds data; the file's end where none does."""
    size = os.fstat(descriptor).st_size  # it may grow before the next look
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError:  # ENXIO: there are no data
        return max(size, offset)


def _release(descriptor: int, size_bytes: int) -> None:
    """Give the first bytes of a file back; a file system that cannot keeps them."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    offsets = ctypes.c_longlong(0), ctypes.c_longlong(size_bytes)
    libc.fallocate(descriptor, _KEEP_SIZE_PUNCH_HOLE, *offsets)
