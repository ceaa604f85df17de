"""The supervisor: a small program that outlives the interpreter and sees one command to its end.

Started by supervised.py as `python -I -S supervisor.py DIRECTORY DEADLINE GRACE PROGRAM…`, in its
own session, its environment, streams and other descriptors being the command's. It imports nothing
of ours and nothing that takes time to load: every command waits for it.

DIRECTORY is the command's own; DEADLINE a reading of the monotonic clock; GRACE seconds from
SIGTERM to SIGKILL.
"""

# `signal` wraps this in enums, which take a quarter of the supervisor's start to load.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys
import time

MARKER = "spawned"
"""In the directory: the command may have begun. Holds pid and start time of its supervisor."""
STOP_REQUEST = "stop"
"""In the directory: somebody asked for the command's end. Holds the grace in seconds."""
EXIT_FILE = "exit"
"""In the directory: the command's exit code, and `ended`, `timed_out` or `stopped`."""
_HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_TICK_S = 0.02
UNREAD_BYTES = 32 << 20
"""So much of each stream is kept for whoever reads it later: memory is dear."""
_UNREAD_TICK_S = 0.25
_PUNCH_HOLE_KEEP_SIZE = 3  # fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_FULL_DISK_PATIENCE_S = 60.0


def start_time_of(pid: int) -> str:
    """When a process began, in ticks since boot: with its pid, its identity; empty: it is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return ""
    try:
        # proc(5): field 22; counted from behind the program's name, which may hold anything.
        return os.read(descriptor, 4096).rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
    finally:
        os.close(descriptor)


def write_marker(directory: str) -> None:
    """Make it durable that the command may have begun."""
    pid = os.getpid()
    descriptor = os.open(f"{directory}/{MARKER}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, f"{pid} {start_time_of(pid)}\n".encode())
    os.close(descriptor)
    # The name alone must survive a power cut; the pid means nothing after one.
    _fsync(directory)


def spawn(argv: list[str]) -> int:
    """Start the command in a process group of its own; returns its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            # Python ignores these two, and what is ignored stays so over exec.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    try:  # noqa: SIM105  # contextlib takes time to load
        os.setpgid(pid, pid)
    except OSError:
        pass  # the command was quicker, and may have ended
    return pid


class Watch:
    """Waits for the command's end, and brings it about at the deadline or on request."""

    def __init__(self, directory: str, pid: int, deadline: float, grace_s: float) -> None:
        self.directory = directory
        self.pid = pid
        self.deadline = deadline
        self.grace_s = grace_s
        self.code: int | None = None
        """The command's exit code, once it has ended; 128 + n where signal n ended it."""
        self.cause = "ended"
        self.kill_at = 0.0
        """When SIGKILL is due; 0: nobody has been told to end."""

    def wait(self) -> int:
        """The command's exit code, once it has ended, and its group too if it was stopped."""
        while True:
            self.reap()
            if self.code is not None and (not self.kill_at or not self.signal_group(0)):
                return self.code
            now = time.monotonic()
            if self.kill_at and now >= self.kill_at:
                self.signal_group(signal.SIGKILL)
                self.kill_at = now + 1
                if self.code is not None:
                    return self.code
            elif not self.kill_at and now >= self.deadline:
                self.end("timed_out", self.grace_s)
            self.sleep()

    def reap(self) -> None:
        """Take note of who has ended; besides the command, orphans that became ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code

    def sleep(self) -> None:
        """Until something is due, or a signal comes: anything but SIGCHLD asks for the end."""
        drop_unread()
        until = self.kill_at or self.deadline
        left_s = min(max(until - time.monotonic(), 0), _UNREAD_TICK_S)
        pause_s = _TICK_S if self.code is not None else left_s
        caught = signal.sigtimedwait(_HANDLED, pause_s)
        if caught is not None and caught.si_signo != signal.SIGCHLD:
            self.end("stopped", self.requested_grace_s())

    def end(self, cause: str, grace_s: float) -> None:
        """Tell the command's group to end; a second time only shortens the grace."""
        kill_at = time.monotonic() + grace_s
        if self.kill_at:
            self.kill_at = min(self.kill_at, kill_at)
            return
        self.cause, self.kill_at = cause, kill_at
        _adopt_orphans()
        self.signal_group(signal.SIGTERM)
        self.signal_group(signal.SIGCONT)  # what is stopped would not hear of it

    def signal_group(self, number: int) -> bool:
        """Whether anybody of the command's group was there to be told."""
        try:
            os.killpg(self.pid, number)
        except OSError:
            return False
        return True

    def requested_grace_s(self) -> float:
        """What the request for the end says, or else the command's own."""
        try:
            descriptor = os.open(f"{self.directory}/{STOP_REQUEST}", os.O_RDONLY)
        except OSError:
            return self.grace_s
        try:
            return float(os.read(descriptor, 64))
        except (OSError, ValueError):
            return self.grace_s
        finally:
            os.close(descriptor)


def drop_unread() -> None:
    """Give back the oldest of what the command has printed and nobody has read for too long."""
    for descriptor in (1, 2):
        status = os.fstat(descriptor)
        if status.st_blocks * 512 > 2 * UNREAD_BYTES:
            page_bytes = os.sysconf("SC_PAGE_SIZE")
            end = (status.st_size - UNREAD_BYTES) // page_bytes * page_bytes
            try:
                import ctypes  # only a talkative command has the time

                offsets = ctypes.c_longlong(0), ctypes.c_longlong(end)
                ctypes.CDLL(None).fallocate(descriptor, _PUNCH_HOLE_KEEP_SIZE, *offsets)
            except (ImportError, OSError, AttributeError):
                pass  # a file system that cannot keeps them


def _adopt_orphans() -> None:
    """Become the parent of those whose parent ends, so that their own end is seen at once."""
    try:
        import ctypes  # only who stops a command has the time

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # then whoever ignores SIGTERM, or is not waited for, costs the whole grace


def write_exit(directory: str, text: str) -> None:
    """Make the command's end durable; a full disk is waited for a while."""
    give_up_at = time.monotonic() + _FULL_DISK_PATIENCE_S
    while True:
        try:
            part = f"{directory}/.{EXIT_FILE}.part"
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
            os.close(descriptor)
            os.rename(part, f"{directory}/{EXIT_FILE}")  # noqa: PTH104  # pathlib takes time to load
            _fsync(directory)
            return
        except OSError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(1)


def _fsync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def main(arguments: list[str]) -> None:
    """Mark, start, wait, and leave the exit file."""
    directory, deadline, grace_s, *argv = arguments
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    for number in (signal.SIGCHLD, signal.SIGTERM):  # an ignored signal would not be seen pending
        signal.signal(number, signal.SIG_DFL)
    write_marker(directory)
    pid = spawn(argv)
    watch = Watch(directory, pid, float(deadline), float(grace_s))
    code = watch.wait()
    write_exit(directory, f"{code} {watch.cause}\n")
    os._exit(0)  # tearing the interpreter down takes time, and somebody waits


if __name__ == "__main__":
    main(sys.argv[1:])
