"""Local long-running processes: started so that none is ever unknown, found again, stopped.

A process is known by pid, start time and boot: a pid alone may by now be somebody else's. In
`<state directory>/processes/` stand, for each, `<project>.<name>.json` (who runs, and the operation
that started it), `.lock` and `.log` (what it prints).

Starting is safe against kill -9 of anybody at any instant:

1. The starter locks `.lock` (flock) and hands that very lock to the launcher, a program in a
   session of its own (launcher.py), which forks; nobody waits for the child.
2. The child writes the record of itself and makes it durable. Only then does it execute the
   program, keeping pid and start time, and that exec closes the lock.
3. Whoever looks, stops or starts takes the lock first. So he waits for a launcher in flight, and
   once he has it, either the program is recorded or it was never executed and never will be.

A process that leaves its session (`setsid`, a daemon of its own making) leaves our sight too.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from runbook.errors import StepError
from runbook.resources import Process
from runbook.secret import Secret
from runbook.tools import launcher
from runbook.tools.files import disk_errors, fsync_directory, make_directories
from runbook.tools.host import boot_id

INHERITED = ("PATH", "HOME", "LANG", "TZ")
"""What a process gets of our own environment; nothing else of it."""

_LOCK_WAIT_S = 10.0
_POLL_S = 0.02
_TAIL_BYTES = 16_384

Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process that runs."""

    pid: int
    """Also its session's and its process group's."""
    started_at: int
    """Clock ticks since boot."""
    boot_id: str
    operation: str
    """The step that started it; see Context.operation."""
    digest: str
    """Of its argv, directory and environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    record: Path
    lock: Path
    log: Path


def _files(state_dir: Path, project: str, name: str) -> _Files:
    stem = f"{quote(project, safe='')}.{quote(name, safe='')}"
    directory = state_dir / "processes"
    return _Files(
        record=directory / f"{stem}.json",
        lock=directory / f"{stem}.lock",
        log=directory / f"{stem}.log",
    )


def digest_of(process: Process) -> str:
    """The same for the same argv, directory and environment; of a secret only its name counts."""
    parts = {
        "argv": process.argv,
        "directory": str(process.directory),
        "environment": {name: str(value) for name, value in process.environment.items()},
    }
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _revealed(process: Process) -> dict[str, str]:
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in process.environment.items()
    }


# --- finding --------------------------------------------------------------------------------


def find_running(
    state_dir: Path, project: str, name: str, *, sleep: Sleep = time.sleep
) -> Running | None:
    """The process of that resource, if it runs; waits for one that is just being started."""
    files = _files(state_dir, project, name)
    if not files.lock.exists():
        return None
    with _locked(files, sleep):
        return _alive(_read(files.record))


def is_recorded(state_dir: Path, project: str, name: str) -> bool:
    """Whether something is left to stop, or may be: `stop` forgets a process last of all."""
    return _files(state_dir, project, name).record.exists()


def is_alive(running: Running) -> bool:
    """Whether this very process still runs."""
    stat = _stat(running.pid)
    if running.boot_id != boot_id() or stat is None or stat.state in ("Z", "X"):
        return False
    return stat.started_at == running.started_at


def log_path(state_dir: Path, project: str, name: str) -> Path:
    """Where the process prints to."""
    return _files(state_dir, project, name).log


def log_tail(state_dir: Path, project: str, name: str, *, since_bytes: int = 0) -> tuple[str, ...]:
    """The last ten lines that it printed, after so many bytes of its log."""
    with suppress(FileNotFoundError), log_path(state_dir, project, name).open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(since_bytes, size_bytes - _TAIL_BYTES))
        return tuple(file.read().decode("utf-8", "replace").splitlines()[-10:])
    return ()


def log_size_bytes(state_dir: Path, project: str, name: str) -> int:
    """How much it has printed so far."""
    with suppress(FileNotFoundError):
        return log_path(state_dir, project, name).stat().st_size
    return 0


def _read(path: Path) -> Running | None:
    try:
        record = json.loads(path.read_bytes())
        return Running(**{key: record[key] for key in Running.__slots__})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StepError(
            f"`{path}` is not a record of a process",
            hint="stop the process by hand, if it runs, and delete that file",
            changed=False,
            is_retryable=False,
        ) from error


def _alive(running: Running | None) -> Running | None:
    return running if running is not None and is_alive(running) else None


@contextmanager
def _locked(files: _Files, sleep: Sleep) -> Iterator[int]:
    """Hold the process's lock; one who inherits the descriptor holds it on."""
    with disk_errors("locking a process's record", changed=False):
        make_directories(files.lock.parent)
        descriptor = os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        waited_s = 0.0
        while not _try_lock(descriptor):
            if waited_s > _LOCK_WAIT_S:
                raise StepError(f"somebody else is starting or stopping it: `{files.lock}` is held")
            sleep(_POLL_S)
            waited_s += _POLL_S
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- starting and stopping ------------------------------------------------------------------


def start(
    process: Process,
    *,
    state_dir: Path,
    project: str,
    operation: str,
    environ: Mapping[str, str] = os.environ,
    sleep: Sleep = time.sleep,
) -> Running | None:
    """Start it, or find it started by the same operation; absent: it has ended again already.

    What another operation started must have been stopped before.

    Raises:
        StepError: another operation's process runs, or nothing can be started.
    """
    files = _files(state_dir, project, process.name)
    with _locked(files, sleep) as lock:
        running = _alive(_read(files.record))
        if running is None:
            _launch(process, files, lock, operation, environ)
        elif running.operation == operation:
            return running
        else:
            raise StepError(f"`{process.name}` runs already, as pid {running.pid}")
    with _locked(files, sleep):
        return _alive(_read(files.record))


def _launch(
    process: Process, files: _Files, lock: int, operation: str, environ: Mapping[str, str]
) -> None:
    orders = {
        "argv": process.argv,
        "directory": str(process.directory),
        "environment": {name: environ[name] for name in INHERITED if name in environ}
        | _revealed(process),
        "lock": lock,
        "path": str(files.record),
        "record": {"operation": operation, "boot_id": boot_id(), "digest": digest_of(process)},
    }
    with disk_errors("starting a process", changed=True):
        # What an earlier process of that name left must not be taken for the new one's record.
        files.record.unlink(missing_ok=True)
        log = os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            ended = subprocess.run(
                [sys.executable, "-I", "-S", launcher.__file__],
                input=json.dumps(orders).encode(),
                stdout=log,
                stderr=log,
                cwd="/",
                env={},
                pass_fds=(lock,),
                start_new_session=True,
                check=False,
            )
        finally:
            os.close(log)
    if ended.returncode != 0:
        raise StepError(f"the launcher ended with exit code {ended.returncode}, expected 0")


def stop(
    process: Process, *, state_dir: Path, project: str, sleep: Sleep = time.sleep
) -> Running | None:
    """Stop it and everything in its session: SIGTERM, its grace, SIGKILL; absent: nothing ran.

    Raises:
        StepError: it cannot be signalled, or survives.
    """
    files = _files(state_dir, project, process.name)
    if not files.lock.exists():
        return None
    with _locked(files, sleep):
        recorded = _read(files.record)
        if recorded is None:
            return None
        had_members = bool(_members(recorded))
        _end(recorded, signal.SIGTERM, process.stop_grace, sleep)
        _end(recorded, signal.SIGKILL, _LOCK_WAIT_S, sleep)
        if _members(recorded):
            raise StepError(f"`{process.name}`, pid {recorded.pid}, survives SIGKILL")
        files.record.unlink(missing_ok=True)
        fsync_directory(files.record.parent)
        return recorded if had_members else None


def is_paused(running: Running) -> bool:
    """Whether it is stopped in its tracks, by whomever."""
    stat = _stat(running.pid)
    return stat is not None and stat.state == "T"


def pause(running: Running, *, sleep: Sleep = time.sleep) -> None:
    """Stop everything in its session in its tracks; returns once all of it stands still.

    Raises:
        StepError: it cannot be signalled, or goes on all the same.
    """
    ends_at_s = time.monotonic() + _LOCK_WAIT_S
    while awake := [pid for pid in _members(running) if not _stands_still(pid)]:
        if time.monotonic() > ends_at_s:
            raise StepError(f"pid {running.pid} does not stand still", changed=False)
        _signal(awake, signal.SIGSTOP)
        sleep(_POLL_S / 10)


def _stands_still(pid: int) -> bool:
    stat = _stat(pid)
    return stat is None or stat.state in ("T", "Z", "X")


def wake(running: Running) -> None:
    """Let everything in its session go on."""
    _signal(_members(running), signal.SIGCONT)


def _end(running: Running, number: signal.Signals, patience_s: float, sleep: Sleep) -> None:
    ends_at_s = time.monotonic() + patience_s
    if members := _members(running):
        _signal(members, number)
        _signal(members, signal.SIGCONT)  # one that is paused would not hear it
    while _members(running) and time.monotonic() < ends_at_s:
        sleep(_POLL_S)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError as error:
            raise StepError(
                f"pid {pid} is not ours to stop", hint="run as the user who started it"
            ) from error


def _members(running: Running) -> list[int]:
    """Who lives in its session. A pid is not given away again while its session has members."""
    if running.boot_id != boot_id():
        return []
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    stats = [(pid, _stat(pid)) for pid in pids]
    found = [
        pid
        for pid, stat in stats
        if stat is not None and stat.session == running.pid and stat.state not in ("Z", "X")
    ]
    # Asked last: the pid of a session that is gone may be given away while we look.
    leader = _stat(running.pid)
    is_another = leader is not None and leader.started_at != running.started_at
    return [] if is_another else found


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    session: int
    started_at: int


def _stat(pid: int) -> _Stat | None:
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return _Stat(fields[0], int(fields[3]), int(fields[19]))
    return None
