"""The program that becomes a long-running process: records itself, then executes it. See daemon.py.

Run by path, as `python -I -S launcher.py`, with its orders as JSON on stdin: nothing of ours may be
imported here, and no secret may stand in an argument list.
"""

import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    """Fork, so that nobody waits; the child records itself durably and executes the program."""
    orders = json.load(sys.stdin)
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    # Closed by the very exec that the record speaks of: whoever gets the lock finds us recorded.
    os.set_inheritable(orders["lock"], False)  # noqa: FBT003 - it takes no keyword
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    _record(orders)
    _forget_signals()
    try:
        os.chdir(orders["directory"])
        os.execvpe(orders["argv"][0], orders["argv"], orders["environment"])
    except OSError as error:
        sys.stderr.write(
            f"{orders['argv'][0]} cannot be started: {os.strerror(error.errno or 0)}\n"
        )
        sys.stderr.flush()
        os._exit(127)


def started_at(pid: int) -> int:
    """When a process started, in clock ticks since boot: field 22 of its stat (proc(5))."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs the start 5 ms
        return int(file.read().rpartition(b")")[2].split()[19])


def _record(orders: dict[str, Any]) -> None:
    pid = os.getpid()
    record = {**orders["record"], "pid": pid, "started_at": started_at(pid)}
    path, part = orders["path"], f"{orders['path']}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, json.dumps(record).encode())
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(part, path)  # noqa: PTH104 - as above
    directory = os.open(os.path.dirname(path), os.O_RDONLY)  # noqa: PTH120 - as above
    os.fsync(directory)
    os.close(directory)


def _forget_signals() -> None:
    """Undo what Python, or a `nohup` far above, has set: it would outlive the exec."""
    for number in _USUAL_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


_USUAL_SIGNALS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGPIPE, signal.SIGXFSZ),
)

if __name__ == "__main__":
    main()
