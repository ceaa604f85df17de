"""The lock that one process at a time holds while it drives a run, and who holds it.

`flock` on a file: it is gone with the process, however that ends. The record of the owner beside it
is for people only, and decides nothing.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from urllib.parse import quote, unquote

from runbook.errors import JournalUnwritable, LockHeld
from runbook.tools.files import make_directories, write_durably

_TRIES = 10
_TRY_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds a lock, or held it last."""

    host: str
    pid: int
    user: str
    run_id: str
    step: str = ""
    """The step that was started last; empty: none."""
    is_alive: bool = True
    """Whether it still holds the lock."""

    @classmethod
    def this_process(cls, *, user: str, run_id: str) -> "Owner":
        """This process, about to drive a run."""
        return cls(host=socket.gethostname(), pid=os.getpid(), user=user, run_id=run_id)

    def __str__(self) -> str:
        step = f", step `{self.step}`" if self.step else ""
        state = "alive" if self.is_alive else "dead"
        return f"{self.user}@{self.host}, process {self.pid} ({state}), run `{self.run_id}`{step}"


class Lock:
    """A lock that this process holds; children never do."""

    def __init__(self, path: Path, descriptor: int, owner: Owner) -> None:
        self._path = path
        self._descriptor = descriptor
        self._owner = owner
        self._is_kept = False

    def keep(self) -> None:
        """Let nobody else have it before this process is gone: it leaves work behind in it."""
        self._is_kept = True

    def update(self, run_id: str, step: str = "") -> None:
        """Say what is being done; not durable, for the process that would be asked dies with it."""
        self._owner = replace(self._owner, run_id=run_id, step=step)
        record = _record_of(self._path)
        part = record.with_name(f".{record.name}.part")
        # It decides nothing, so a full disk is the journal's to complain about.
        with suppress(OSError):
            part.write_bytes(_encode(self._owner))
            part.rename(record)

    def release(self) -> None:
        """Let the next one in, unless it is kept."""
        if self._descriptor >= 0 and not self._is_kept:
            os.close(self._descriptor)
            self._descriptor = -1


def acquire(state_dir: Path, name: str, owner: Owner) -> Lock:
    """Take the lock of that name at once.

    Raises:
        LockHeld: another process holds it; names its owner.
        JournalUnwritable: the state directory cannot be written.
    """
    path = _path_of(state_dir, name)
    with _disk_errors(path):
        make_directories(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor)
        with _disk_errors(path):
            write_durably(_record_of(path), _encode(owner))
    except BlockingIOError:
        os.close(descriptor)
        held_by = read_owner(state_dir, name)
        by = f" by {held_by}" if held_by else ""
        raise LockHeld(
            f"the lock `{name}` is held{by}",
            hint=f"runbook status {held_by.run_id}" if held_by else "runbook status",
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(path, descriptor, owner)


def read_owner(state_dir: Path, name: str) -> Owner | None:
    """Who holds that lock, or held it last; None: nobody ever did, or it is not recorded."""
    path = _path_of(state_dir, name)
    try:
        wire = json.loads(_record_of(path).read_bytes())
        known = {field.name for field in fields(Owner)}
        owner = Owner(**{key: value for key, value in wire.items() if key in known})
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None
    return replace(owner, is_alive=_is_held(path))


def holder(state_dir: Path) -> Owner | None:
    """Who holds any lock of that state directory now; None: nobody, as far as can be seen."""
    with suppress(OSError):
        for path in sorted((state_dir / "locks").glob("*.lock")):
            owner = read_owner(state_dir, unquote(path.stem))
            if owner is not None and owner.is_alive:
                return owner
    return None


def _take(descriptor: int) -> None:
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever asks whether it is held, holds it for an instant.
        time.sleep(_TRY_AGAIN_S)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _path_of(state_dir: Path, name: str) -> Path:
    return state_dir / "locks" / f"{quote(name, safe='')}.lock"


def _record_of(path: Path) -> Path:
    return path.with_suffix(".owner")


def _encode(owner: Owner) -> bytes:
    return json.dumps(asdict(owner), sort_keys=True).encode() + b"\n"


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise JournalUnwritable(f"the lock `{path}` cannot be written: {reason}") from error
