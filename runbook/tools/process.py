"""External commands, as everybody else sees them.

Those that only read are run here, to their end. Those that may outlive this process: supervised.py.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from runbook.errors import TimedOut
from runbook.tools.command import (
    BASE_ENVIRONMENT,
    Command,
    Completed,
    check_startable,
    environment_of,
    unstartable,
)
from runbook.tools.redactor import Redactor
from runbook.tools.supervised import Exit, Gone, Supervised
from runbook.units import format_duration

__all__ = ["BASE_ENVIRONMENT", "Command", "Completed", "Exit", "Gone", "Supervised", "output"]


def output(
    command: Command, *, timeout_s: float, environ: Mapping[str, str] | None = None
) -> Completed:
    """Run a command that only reads, to its end; what it printed is whole, without its own secrets.

    It does not outlive `timeout_s`, but may outlive this process.

    Raises:
        TimedOut: it did not end in time and was killed, with its process group.
        Unfit: the program is missing.
    """
    environment = environment_of(command, os.environ if environ is None else environ)
    check_startable(command, environment)
    try:
        process = subprocess.Popen(
            command.argv,
            cwd=command.directory,
            env=environment,
            stdin=subprocess.DEVNULL if command.stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise unstartable(command, error) from error
    printed = _communicate(process, command, timeout_s)
    if printed is None:
        raise TimedOut(
            f"`{command.argv[0]}` did not end within {format_duration(timeout_s)} and was stopped",
            where=" ".join(command.argv),
            changed=False,
        )
    redactor = Redactor(command.secrets())
    return Completed(
        exit_code=process.returncode if process.returncode >= 0 else 128 - process.returncode,
        stdout=redactor.bytes(printed[0]).decode("utf-8", "backslashreplace"),
        stderr=redactor.bytes(printed[1]).decode("utf-8", "backslashreplace"),
    )


def _communicate(
    process: "subprocess.Popen[bytes]", command: Command, timeout_s: float
) -> tuple[bytes, bytes] | None:
    stdin = None if command.stdin is None else command.stdin_bytes()
    try:
        return process.communicate(stdin, timeout_s)
    except subprocess.TimeoutExpired:
        # Not the cause of what is raised: it carries all that the command has printed.
        _kill_group(process)
        return None
    except BaseException:
        _kill_group(process)
        raise


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Not drained: somebody who left the group may hold the other end open for ever.
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
