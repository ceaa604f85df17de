"""PostgreSQL's own dump programs, of exactly the server's version where that can be.

In a container beside the server's, of the same image, that shares its network; or this machine's
own. Commands as pure functions: a step runs them under its supervisor.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import Unfit
from runbook.secret import Secret
from runbook.tools import docker
from runbook.tools.postgres import Server
from runbook.tools.process import Command, output

_INSIDE = "/runbook"
"""Where a container sees the directory that is dumped to or restored from."""
_ZSTD_SINCE = 160000
"""server_version_num of the first release whose dumps can be compressed by zstd."""
_JOBS_AT_MOST = 8
_LOCK_S = 2
"""Whoever has exported the snapshot holds every table: who is waited for then waits for us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """pg_dump and its relatives, for one server."""

    server: Server
    version: int
    """The server's `server_version_num`."""
    operation: str

    @property
    def _jobs(self) -> str:
        return str(min(os.cpu_count() or 1, _JOBS_AT_MOST))

    def dump(self, database: str, directory: Path, *, snapshot: str) -> Command:
        """Dump one snapshot in parallel into `directory`, which must not be there yet."""
        # gzip, all that older ones have, costs four times the dump itself.
        packed = "zstd:1" if self.version >= _ZSTD_SINCE else "0"
        words = (
            *("--format=directory", f"--jobs={self._jobs}", f"--snapshot={snapshot}"),
            *(f"--compress={packed}", f"--lock-wait-timeout={_LOCK_S}s", "--no-subscriptions"),
            f"--dbname={database}",
        )
        return self._command("pg_dump", directory.parent, f"--file={{}}/{directory.name}", *words)

    def dump_globals(self, file: Path) -> Command:
        """Write roles and tablespaces, without passwords, as SQL."""
        words = ("--globals-only", "--no-role-passwords")
        return self._command("pg_dumpall", file.parent, f"--file={{}}/{file.name}", *words)

    def restore(self, database: str, directory: Path) -> Command:
        """Restore a dump in parallel into an empty database; the first error ends it."""
        # pg_restore without it goes on after errors and still loads (PostgreSQL docs, pg_restore).
        words = ("--exit-on-error", f"--jobs={self._jobs}", f"--dbname={database}")
        return self._command("pg_restore", directory.parent, *words, f"{{}}/{directory.name}")

    def load(self, database: str, script: Path) -> Command:
        """Run a plain SQL dump in an empty database; the first error ends it."""
        words = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={database}")
        return self._command("psql", script.parent, *words, f"--file={{}}/{script.name}")

    def read(self, directory: Path) -> Command:
        """Read a whole dump, and restore it nowhere."""
        words = ("--file=/dev/null", f"{{}}/{directory.name}")
        return self._command("pg_restore", directory.parent, *words, is_connected=False)

    def _command(
        self, program: str, directory: Path, *words: str, is_connected: bool = True
    ) -> Command:
        environment: dict[str, str | Secret] = {"PGAPPNAME": self.server.application}
        if is_connected and self.server.password is not None:
            environment["PGPASSWORD"] = self.server.password
        if self.server.container_id is None:
            where = (f"--host={self.server.host}", f"--port={self.server.port}")
            options = (*where, f"--username={self.server.user}") if is_connected else ()
            argv = (program, *options, *(word.format(directory) for word in words))
            return Command(argv=argv, environment=environment)
        where = ("--host=127.0.0.1", f"--port={self.server.port}")
        options = (*where, f"--username={self.server.user}") if is_connected else ()
        return Command(
            argv=(
                *("docker", "run", "--rm", "--interactive=false", "--log-driver=none"),
                *(f"--label={docker.OPERATION_LABEL}={self.operation}", "--pull=never"),
                f"--network=container:{self.server.container_id}",
                f"--user={os.getuid()}:{os.getgid()}",
                f"--volume={directory}:{_INSIDE}",
                *(word for name in environment for word in ("--env", name)),
                f"--entrypoint={program}",
                str(self.server.image_id),
                *options,
                *(word.format(_INSIDE) for word in words),
            ),
            environment=environment,
        )


def missing_programs(server: Server, version: int) -> list[str]:
    """What is missing to dump that server, where no container has the programs."""
    if server.container_id is not None:
        return []
    try:
        own = _own_version()
    except Unfit as error:
        return [error.message]
    if own < version // 10000:
        return [f"`pg_dump` here is version {own}, older than the server's {version // 10000}"]
    return []


def _own_version() -> int:
    if shutil.which("pg_dump") is None:
        raise Unfit("there is no program `pg_dump`", hint="install PostgreSQL's client programs")
    told = output(Command(argv=("pg_dump", "--version")), timeout_s=10.0)
    found = re.search(r"\) (\d+)", told.stdout)
    return int(found[1]) if found else 0


def remove_containers(operation: str) -> None:
    """Remove the containers of an operation that outlived who had started them."""
    docker.remove_containers(f"{docker.OPERATION_LABEL}={operation}")
