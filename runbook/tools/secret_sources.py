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


def fetch_secret(name: str, source: PlannedSecret, environ: Mapping[str, str]) -> Secret | None:
    """The secret of that name; None where it is neither there nor required.

    Raises:
        SecretMissing: it is empty, unusable, or cannot be had; the message never holds any of it.
    """
    match source.provider:
        case "env":
            variable = f"the variable `{source.reference}`"
            value, missing = environ.get(source.reference, ""), f"{variable} is not set"
            if not _is_text(value):
                value, missing = "", f"{variable} is not UTF-8 text"
            hint = f"export {source.reference}=…"
        case "file":
            value, missing = _read(Path(source.reference))
            hint = f"put the secret into {source.reference}"
        case _:
            value, missing = _printed(source, environ)
            hint = f"see that `{source.argv[0]}` prints the secret"
    if "\0" in value:
        raise SecretMissing(f"secret `{name}` is unusable: it holds a NUL character", hint=hint)
    if value:
        return Secret(value)
    if not source.is_required and missing.endswith("is not set"):
        return None
    raise SecretMissing(f"secret `{name}` is missing: {missing}", hint=hint)


def _is_text(value: str) -> bool:
    """Whether it was UTF-8: the bytes of a variable that are not become lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


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
        return printed.decode().removesuffix("\n").removesuffix("\r"), f"{program} printed nothing"
    except UnicodeDecodeError:
        return "", f"what {program} printed is not UTF-8 text"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave none of the command's processes behind."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
