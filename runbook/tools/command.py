"""What an external command is, what it gets of our environment, and whether it could start."""

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runbook.errors import Unfit
from runbook.secret import Secret

BASE_ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "TZ"),
    *("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK"),
    *("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""What every command inherits of our own environment; nothing else of it."""


def assignments(environment: Mapping[str, str | Secret]) -> list[str]:
    """Variables as a person types them; a secret is in the shell's own of the same name."""
    return [
        f'{name}="${name}"' if isinstance(value, Secret) else f"{name}={shlex.quote(value)}"
        for name, value in environment.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command to run: argument list, never a shell string."""

    argv: tuple[str, ...]
    """Program and arguments. No secret: every user of the machine can read them."""
    directory: Path | None = None
    """Working directory; absent: this process's own."""
    environment: Mapping[str, str | Secret] = field(default_factory=dict)
    """Variables besides those of `BASE_ENVIRONMENT` that every command inherits."""
    stdin: str | Secret | None = None
    """What it reads; absent: nothing (/dev/null)."""
    needs_output: bool = False
    """What it prints is its result: without that, its exit status tells nothing."""
    grace_s: float = 10.0
    """Between SIGTERM and SIGKILL when it is stopped."""

    def secrets(self) -> tuple[Secret, ...]:
        """Every secret that the command is given."""
        given = (*self.environment.values(), self.stdin)
        return tuple(value for value in given if isinstance(value, Secret))

    def typed(self) -> str:
        """How a person types it."""
        return " ".join([*assignments(self.environment), shlex.join(self.argv)])

    def stdin_bytes(self) -> bytes:
        """What it reads, as it reads it."""
        return _plain(self.stdin or "").encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A command's end."""

    exit_code: int
    """128 + n where signal n ended it."""
    stdout: str
    """What it printed there, redacted; of a supervised command the last 1 MiB of it."""
    stderr: str
    is_cut: bool = False
    """Whether it printed more to stdout than is kept."""

    @property
    def tail(self) -> tuple[str, ...]:
        """The last ten lines of stderr, or of stdout where that is empty."""
        return tuple((self.stderr.strip() or self.stdout.strip()).splitlines()[-10:])


def environment_of(command: Command, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment that a command gets, its secrets in the clear."""
    inherited = {name: environ[name] for name in BASE_ENVIRONMENT if name in environ}
    return inherited | {name: _plain(value) for name, value in command.environment.items()}


def check_startable(command: Command, environment: Mapping[str, str]) -> None:
    """Refuse what could not even start.

    Raises:
        Unfit: the program or the working directory is missing.
    """
    directory = command.directory or Path.cwd()
    if not directory.is_dir():
        raise Unfit(f"there is no directory `{directory}` to run `{command.argv[0]}` in")
    program = command.argv[0]
    if "/" in program:
        found = shutil.which(directory / program)
    else:
        found = shutil.which(program, path=environment.get("PATH", os.defpath))
    if found is None:
        raise Unfit(
            f"there is no program `{program}` to run",
            hint="install it, or set `PATH` so that it is found",
        )
    # One NUL would end the string early in the kernel; Python refuses with a bare ValueError.
    if any("\0" in text for text in command.argv):
        raise Unfit(f"an argument of `{program}` holds a NUL character")
    for name, text in environment.items():
        if "\0" in name + text:
            value = command.environment.get(name)
            origin = f", from `{value.origin}`," if isinstance(value, Secret) else ""
            raise Unfit(f"variable `{name}` of `{program}`{origin} holds a NUL character")


def unstartable(command: Command, error: OSError) -> Unfit:
    """What the kernel's refusal to start a program means."""
    return Unfit(f"`{command.argv[0]}` cannot be started: {os.strerror(error.errno or 0).lower()}")


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
