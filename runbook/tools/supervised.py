"""Commands that may outlive this process: started under a supervisor, found again, stopped.

Each has a directory of its own, in which stand

    lock      locked (flock) by the starter; supervisor and command inherit the lock, so that it is
              held as long as anybody of them lives
    raw       a link to where it prints to: a tmpfs, so that no secret reaches a disk
    spawned   written and made durable by the supervisor before it starts the command
    stop      somebody asked for its end
    exit      how it ended; written to another name, made durable, renamed

From these, whoever comes after a crash tells what became of it, in this order: no directory → it
was never started; `exit` there → that is its end; lock held → somebody of it is alive; no `spawned`
→ never started, for the starter died before its supervisor lived, which alone starts the command;
else it is gone, and nobody knows how far it came. (`exit` is looked for once more before the last
two: it may have ended in between.) The parent directory is fsynced before the supervisor starts and
the directory before the command does, so that this holds over a power cut too.
"""

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

from runbook.tools import supervisor
from runbook.tools.command import Command, check_startable, environment_of, unstartable
from runbook.tools.files import fsync_directory
from runbook.tools.raw_output import Piece, RawOutput

_LOCK = "lock"
_TICK_S = 0.02
_START_TICK_S = 0.001
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The command's end, as its supervisor recorded it."""

    exit_code: int
    """128 + n where signal n ended it."""
    has_timed_out: bool = False
    """It was stopped at its deadline."""
    was_stopped: bool = False
    """It was stopped on request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Nobody of the command is alive, and how it ended is not recorded."""

    was_started: bool
    """False: surely not, for its supervisor ended before; the disk may be full."""
    was_stopped: bool = False
    """Its end had been requested."""


class Supervised:
    """One command under its supervisor. Not for two threads at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._output = RawOutput(directory)

    @classmethod
    def start(
        cls,
        command: Command,
        directory: Path,
        deadline_s: float,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> "Supervised":
        """Start a command; `directory` must not be there yet, its parent must.

        `deadline_s` seconds from now it is stopped, whether this process lives or not.

        Raises:
            Unfit: the program or its working directory is missing. Nothing was started.
            OSError: the directory cannot be made or written. Nothing was started.
        """
        environ = os.environ if environ is None else environ
        environment = environment_of(command, environ)
        check_startable(command, environment)
        deadline = time.monotonic() + deadline_s
        directory = directory.absolute()
        directory.mkdir(mode=0o700)
        try:
            fsync_directory(directory.parent)
            _spawn(command, directory, deadline, environment, environ)
        except OSError as error:
            _forget(directory)
            if isinstance(error, FileNotFoundError | PermissionError):
                raise unstartable(command, error) from error
            raise
        return cls(directory)

    @classmethod
    def find(cls, directory: Path) -> "Supervised | None":
        """The command of that directory, alive, ended or gone; None: it was never started."""
        found = cls(directory.absolute())
        if not found.directory.exists():
            return None
        if found._recorded_end() or found._is_locked() or found._recorded_end():
            return found
        if found._is_marked():
            return found
        _forget(found.directory)
        return None

    def is_alive(self) -> bool:
        """Whether the command is still under way."""
        return self._recorded_end() is None and self._is_locked()

    def poll(self, timeout_s: float = 0.0) -> Exit | Gone | None:
        """Its end; None: it goes on after `timeout_s`."""
        until = time.monotonic() + timeout_s
        while True:
            if end := self._end():
                return end
            remaining_s = until - time.monotonic()
            if remaining_s <= 0:
                return None
            self._wait_for_supervisor(remaining_s)

    def stop(self, grace_s: float) -> Exit | Gone:
        """Stop it, SIGTERM first and SIGKILL after `grace_s`; returns once nobody of it is left."""
        request = self.directory / supervisor.STOP_REQUEST
        part = request.with_name(".stop.part")
        part.write_text(f"{grace_s}\n")
        part.rename(request)
        is_told = False
        while (end := self._end()) is None:
            with self._supervisor() as pidfd:
                if pidfd is not None and not is_told:
                    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                    is_told = True
                is_orphaned = pidfd is None and self._is_marked()
            if is_orphaned:
                self._stop_unsupervised(grace_s)
            self.poll(1.0 if is_told else _TICK_S)
        return end

    def read_output(self, from_stdout: int, from_stderr: int) -> tuple[Piece, Piece]:
        """What it printed from these offsets on, raw.

        What lies before the offsets is given back to the tmpfs from time to time, which a talkative
        command must not fill: it counts as read. While nobody reads, the oldest is given back, too.
        """
        return self._output.read(0, from_stdout), self._output.read(1, from_stderr)

    @property
    def output_begins_at(self) -> tuple[int, int]:
        """The first offsets of stdout and stderr that have not been given back."""
        return self._output.begins_at(0), self._output.begins_at(1)

    @property
    def has_lost_output(self) -> bool:
        """Whether what it printed is gone although nobody discarded it: a reboot, or a logout."""
        return self._output.is_lost

    def discard_output(self) -> None:
        """Remove what it printed."""
        self._output.discard()

    def _end(self) -> Exit | Gone | None:
        end = self._recorded_end()
        if end is not None or self._is_locked():
            return end
        _reap()
        # It may have ended between the two looks.
        was_stopped = (self.directory / supervisor.STOP_REQUEST).exists()
        return self._recorded_end() or Gone(was_started=self._is_marked(), was_stopped=was_stopped)

    def _is_marked(self) -> bool:
        return (self.directory / supervisor.MARKER).exists()

    def _recorded_end(self) -> Exit | None:
        try:
            code, cause = (self.directory / supervisor.EXIT_FILE).read_text().split()
        except FileNotFoundError:
            return None
        _reap()
        return Exit(
            exit_code=int(code),
            has_timed_out=cause == "timed_out",
            was_stopped=cause == "stopped",
        )

    def _is_locked(self) -> bool:
        try:
            descriptor = os.open(self.directory / _LOCK, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who look at once do not take each other for the command.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _wait_for_supervisor(self, timeout_s: float) -> None:
        with self._supervisor() as pidfd:
            if pidfd is None:  # not yet marked, or dead before its command: no one to wait on
                tick_s = _TICK_S if self._is_marked() else _START_TICK_S
                select.select([], [], [], min(timeout_s, tick_s))
                return
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            poller.poll(timeout_s * 1000)

    @contextmanager
    def _supervisor(self) -> Iterator[int | None]:
        """A handle of the supervisor, if it is alive and surely ours."""
        try:
            pid, began = (self.directory / supervisor.MARKER).read_text().split()
            pidfd = os.pidfd_open(int(pid))
        except (FileNotFoundError, ProcessLookupError, ValueError):
            yield None
            return
        try:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            is_ended = bool(poller.poll(0))
            is_ours = supervisor.start_time_of(int(pid)) == began
            yield pidfd if is_ours and not is_ended else None
        finally:
            os.close(pidfd)

    def _stop_unsupervised(self, grace_s: float) -> None:
        """Stop what a supervisor that was killed has left behind."""
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 1.0)):
            for group in self._groups_alive():
                with suppress(ProcessLookupError):
                    os.killpg(group, number)
            until = time.monotonic() + patience_s
            while self._is_locked() and time.monotonic() < until:
                select.select([], [], [], _TICK_S)

    def _groups_alive(self) -> set[int]:
        """The process groups of everybody who holds the lock: they are of the command, surely."""
        lock = (self.directory / _LOCK).stat()
        groups = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _has_open(entry, lock):
                with suppress(ProcessLookupError):
                    groups.add(os.getpgid(int(entry.name)))
        return groups - {os.getpgrp()}


# --- starting -------------------------------------------------------------------------------

_supervisors: "set[subprocess.Popen[bytes]]" = set()
"""Those that this process started and has not reaped."""
_supervisors_lock = threading.Lock()


def _reap() -> None:
    with _supervisors_lock:
        _supervisors.difference_update([s for s in _supervisors if s.poll() is not None])


def _spawn(
    command: Command,
    directory: Path,
    deadline: float,
    environment: Mapping[str, str],
    environ: Mapping[str, str],
) -> None:
    descriptors: list[int] = []
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        descriptors.append(lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        descriptors.extend(RawOutput(directory).create(environ))
        descriptors.append(_stdin(command))
        _, stdout, stderr, stdin = descriptors
        fixed = [str(directory), str(deadline), str(command.grace_s)]
        with _signals_held():
            started = subprocess.Popen(
                [sys.executable, "-I", "-S", _program(), *fixed, *command.argv],
                cwd=command.directory,
                env=dict(environment),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(lock,),
                start_new_session=True,
            )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    with _supervisors_lock:
        _supervisors.add(started)


def _program() -> str:
    # Importing it has left or renewed the compiled form, which starts 2 ms sooner.
    compiled = cache_from_source(supervisor.__file__)
    is_fresh = not sys.dont_write_bytecode and Path(compiled).exists()
    return compiled if is_fresh else supervisor.__file__


@contextmanager
def _signals_held() -> Iterator[None]:
    """A supervisor inherits this: who asks it to stop before it can hear must not kill it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stdin(command: Command) -> int:
    if command.stdin is None:
        return os.open(os.devnull, os.O_RDONLY)
    # In memory and nameless: it may be a secret, and must be gone with the command.
    descriptor = os.memfd_create("stdin")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(command.stdin_bytes())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# --- cleaning up ----------------------------------------------------------------------------


def _forget(directory: Path) -> None:
    """Remove a directory whose command was never started."""
    RawOutput(directory).discard()
    shutil.rmtree(directory)
    fsync_directory(directory.parent)


def _has_open(process: Path, file: os.stat_result) -> bool:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # ended, or another user's
        return False
    for descriptor in descriptors:
        with suppress(OSError):
            if os.path.samestat(descriptor.stat(), file):
                return True
    return False
