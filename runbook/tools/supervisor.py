"""The supervisor: a small program that outlives the interpreter and sees one command to its end.

Started by supervised.py as `python -I -S supervisor.py DIRECTORY DEADLINE GRACE PROGRAM…`, in its
own session, its environment, stdin and other descriptors being the command's. It imports nothing
of ours and nothing that takes time to load: every command waits for it.

The command prints into two pipes, and the supervisor keeps what comes out in the files that are its
own stdout and stderr: a script that opens /dev/stderr would empty a file (open(2): O_TRUNC).

DIRECTORY is the command's own; DEADLINE a reading of the monotonic clock; GRACE seconds from
SIGTERM to SIGKILL.
"""

# `signal` wraps this in enums, which take a quarter of the supervisor's start to load.
import _signal as signal  # type: ignore[import-not-found]
import os
import select
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
_LONGEST_PAUSE_S = 3600.0
_READ_BYTES = 1 << 16  # what a pipe holds by itself: pipe(7)
_PIPE_MAX_BYTES = 1 << 20  # what it may hold: /proc/sys/fs/pipe-max-size
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


class Stream:
    """One of the command's streams: a pipe, and the file in which is kept what comes out of it."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.source, self.sink = os.pipe()
        os.set_blocking(self.source, False)

    def drain(self, *, is_kept: bool = True) -> bool:
        """Empty the pipe, of all that it may hold now; False: nobody is left to fill it."""
        for _ in range(_PIPE_MAX_BYTES // _READ_BYTES):
            try:
                data = os.read(self.source, _READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            if is_kept:
                self.keep(data)
        return True

    def keep(self, data: bytes) -> None:
        """Append to the file, and give its oldest back where nobody has read it for too long."""
        try:
            while data:
                data = data[os.write(self.file, data) :]
        except OSError:  # memory is full: all is given back, and its length says how much
            os.ftruncate(self.file, os.fstat(self.file).st_size + len(data))
            self.give_back(0)
        if os.fstat(self.file).st_blocks * 512 > 2 * UNREAD_BYTES:
            self.give_back(UNREAD_BYTES)

    def give_back(self, kept_bytes: int) -> None:
        """Free the memory of all but the newest bytes, whose offsets stay as they are."""
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        end = (os.fstat(self.file).st_size - kept_bytes) // page_bytes * page_bytes
        try:
            import ctypes  # only a talkative command has the time

            offsets = ctypes.c_longlong(0), ctypes.c_longlong(end)
            ctypes.CDLL(None).fallocate(self.file, _PUNCH_HOLE_KEEP_SIZE, *offsets)
        except (ImportError, OSError, AttributeError):
            pass  # a file system that cannot keeps them


def spawn(argv: list[str], streams: list[Stream]) -> int:
    """Start the command in a process group of its own; returns its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            for stream in streams:
                os.dup2(stream.sink, stream.file)
            # Python ignores these two, and what is ignored stays so over exec.
            for number in (signal.SIGPIPE, signal.SIGXFSZ, *_HANDLED):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    for stream in streams:
        os.close(stream.sink)
    try:  # noqa: SIM105  # contextlib takes time to load
        os.setpgid(pid, pid)
    except OSError:
        pass  # the command was quicker, and may have ended
    return pid


class Watch:
    """Waits for the command's end, and brings it about at the deadline or on request."""

    def __init__(self, directory: str, argv: list[str], deadline: float, grace_s: float) -> None:
        self.directory = directory
        self.deadline = deadline
        self.grace_s = grace_s
        self.signals = _hear_signals()
        streams = [Stream(1), Stream(2)]
        self.pid = spawn(argv, streams)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        self.streams = streams
        """Those that somebody may still print to."""
        self.code: int | None = None
        """The command's exit code, once it has ended; 128 + n where signal n ended it."""
        self.cause = "ended"
        self.kill_at = 0.0
        """When SIGKILL is due; 0: nobody has been told to end."""

    def wait(self) -> int:
        """The command's exit code, once it has ended, and its group too if it was stopped."""
        while True:
            self.reap()
            self.streams = [stream for stream in self.streams if stream.drain()]
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
        """Until something is due or printed, or a signal comes: all but SIGCHLD ask for the end."""
        until = self.kill_at or self.deadline
        left_s = max(until - time.monotonic(), 0)
        pause_s = _TICK_S if self.code is not None else min(left_s, _LONGEST_PAUSE_S)
        sources = [self.signals, *(stream.source for stream in self.streams)]
        select.select(sources, (), (), pause_s)
        try:
            heard = os.read(self.signals, 4096)
        except BlockingIOError:
            return
        if any(number != signal.SIGCHLD for number in heard):
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


def _hear_signals() -> int:
    """A descriptor from which to read the numbers of those that came; they stay blocked as yet."""
    signals, sink = os.pipe()
    for descriptor in (signals, sink):
        os.set_blocking(descriptor, False)
    for number in _HANDLED:
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    return signals


def listen_on(streams: list[Stream]) -> None:
    """Read on for whoever the command has left behind: printing, they would die of it."""
    if not streams or os.fork() != 0:
        return
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    os.chdir("/")
    # Neither the lock nor the command's stdin is held any longer.
    for descriptor, stream in enumerate(streams):
        stream.source = os.dup2(stream.source, descriptor)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # pathlib takes time to load
        if int(name) >= len(streams):
            _close(int(name))
    while streams:
        select.select([stream.source for stream in streams], (), ())
        streams = [stream for stream in streams if stream.drain(is_kept=False)]
    os._exit(0)


def _close(descriptor: int) -> None:
    try:  # noqa: SIM105  # contextlib takes time to load
        os.close(descriptor)
    except OSError:
        pass  # that of the listing itself


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
    write_marker(directory)
    watch = Watch(directory, argv, float(deadline), float(grace_s))
    code = watch.wait()
    write_exit(directory, f"{code} {watch.cause}\n")
    listen_on(watch.streams)
    os._exit(0)  # tearing the interpreter down takes time, and somebody waits


if __name__ == "__main__":
    main(sys.argv[1:])
