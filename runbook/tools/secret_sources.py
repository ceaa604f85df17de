"""Where secrets come from: a variable, a file, or what a command prints."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from runbook.core.plan import PlannedSecret
from runbook.errors import SecretMissing
from runbook.secret import Secret

_AGAIN = "then run the same command again"


def fetch_secret(name: str, source: PlannedSecret, environ: Mapping[str, str]) -> Secret | None:
    """The secret of that name; None where it is neither there nor required.

    Raises:
        SecretMissing: it is empty, or cannot be had; the message never holds any of it.
    """
    match source.provider:
        case "env":
            value = environ.get(source.reference, "")
            missing = f"the variable `{source.reference}` is not set"
            hint = f"export {source.reference}=…, {_AGAIN}"
        case "file":
            value, missing = _read(Path(source.reference))
            hint = f"put the secret into {source.reference}, {_AGAIN}"
        case _:
            value, missing = _printed(source, environ)
            hint = f"see that `{source.argv[0]}` prints the secret, {_AGAIN}"
    if value:
        return Secret(value)
    if not source.is_required:
        return None
    raise SecretMissing(f"secret `{name}` is missing: {missing}", hint=hint)


def _read(path: Path) -> tuple[str, str]:
    """A file's text without its last newline, and why there is none."""
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n"), f"the file `{path}` is empty"
    except OSError as error:
        return "", f"cannot read `{path}`: {error.strerror}"
    except UnicodeDecodeError:
        return "", f"`{path}` is not UTF-8 text"


def _printed(source: PlannedSecret, environ: Mapping[str, str]) -> tuple[str, str]:
    """What a command prints without its last newline, and why it is nothing.

    Its own words are not repeated: some programs put into an error what they were to keep.
    """
    program = f"`{source.argv[0]}`"
    try:
        process = subprocess.Popen(
            source.argv,
            cwd=source.reference,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return "", f"cannot start {program}: {getattr(error, 'strerror', None) or error}"
    try:
        printed, _ = process.communicate(timeout=source.timeout_s)
    except subprocess.TimeoutExpired:
        return "", f"{program} did not end within {source.timeout_s:g} s"
    finally:
        _end(process)
    if process.returncode != 0:
        return "", f"{program} ended with status {process.returncode}"
    try:
        return printed.decode().removesuffix("\n"), f"{program} printed nothing"
    except UnicodeDecodeError:
        return "", f"what {program} printed is not UTF-8 text"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave none of the command's processes behind."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
