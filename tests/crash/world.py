"""What can be seen of a workspace from outside: the system, effects on it, and what is left over.

Read from files, processes and sockets. The journal is looked at last, and only for what it alone
can tell.
"""

import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from runbook.app import open_app
from runbook.core.events import DoubtSettled, RunResumed, StepStarted, StepSucceeded, Verdict
from runbook.core.journal import RunFilter
from runbook.engine.ledger import Recorded
from runbook.settings import load_settings
from runbook.tools.archive import STAGED_PREFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where everything of one shop lies."""

    root: Path
    port: int
    tmpfs: Path
    """Where raw output goes: nobody else's does."""

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def database(self) -> Path:
        return self.root / "data" / "shop.db"

    @property
    def uploads(self) -> Path:
        return self.root / "data" / "uploads"

    @property
    def effects(self) -> Path:
        return self.root / "effects.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The system as its users have it. Two of the same are the same to them."""

    commit: str
    changes: str
    """What git says of a work tree that is not clean."""
    schema_version: int
    dump: tuple[str, ...]
    """The database as SQL."""
    uploads: tuple[tuple[str, int, int, bytes], ...]
    """Path, mode, mtime in ns, content; of directories without content."""
    release: str | None
    """The one that answers; absent: none does."""
    servers: int
    """Processes of this workspace."""


def observe(workspace: Workspace) -> World:
    """The system as it is now."""
    dump, schema_version = read_database(workspace.database)
    return World(
        commit=_git(workspace, "rev-parse", "HEAD").strip(),
        changes=_git(workspace, "status", "--porcelain"),
        schema_version=schema_version,
        dump=dump,
        uploads=tuple(sorted(_entry(p, workspace.uploads) for p in _tree(workspace.uploads))),
        release=release_of(workspace),
        servers=len(processes_of(workspace)),
    )


def read_database(path: Path) -> tuple[tuple[str, ...], int]:
    """Its content as SQL, and its version; damaged ones raise."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return tuple(connection.iterdump()), version


def _git(workspace: Workspace, *arguments: str) -> str:
    argv = ["git", "--no-optional-locks", "-C", str(workspace.root / "shop"), *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _tree(directory: Path) -> Iterator[Path]:
    yield directory
    yield from directory.rglob("*")


def _entry(path: Path, base: Path) -> tuple[str, int, int, bytes]:
    status = path.stat()
    content = path.read_bytes() if path.is_file() else b""
    return str(path.relative_to(base)), status.st_mode, status.st_mtime_ns, content


def release_of(workspace: Workspace) -> str | None:
    """The release that answers at `/health`."""
    with closing(HTTPConnection("127.0.0.1", workspace.port, timeout=5)) as connection:
        try:
            connection.request("GET", "/health")
            return str(json.loads(connection.getresponse().read())["release"])
        except (OSError, HTTPException):
            return None


def processes_of(workspace: Workspace) -> dict[int, str]:
    """Whoever works in the workspace, is called with its path, or has a file of it open."""
    found = {}
    # A child of ours that has yet to execute its program has all our files open, of any workspace.
    ours = _command_line(Path("/proc/self"))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                line = _command_line(entry)
                if line != ours and _concerns(entry, str(workspace.root)):
                    found[int(entry.name)] = line
    return found


def kill(workspace: Workspace, pid: int) -> None:
    """Kill a process of the workspace; nobody who has got its number since."""
    with suppress(OSError):
        held = os.pidfd_open(pid)
        try:
            if _concerns(Path(f"/proc/{pid}"), str(workspace.root)):
                signal.pidfd_send_signal(held, signal.SIGKILL)
        finally:
            os.close(held)


def _concerns(process: Path, root: str) -> bool:
    # A zombie is gone but for its name.
    if (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
        return False
    if str((process / "cwd").readlink()).startswith(root) or root in _command_line(process):
        return True
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            if str(descriptor.readlink()).startswith(root):
                return True
    return False


def _command_line(process: Path) -> str:
    return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()


# --- effects --------------------------------------------------------------------------------


def effects_of(workspace: Workspace) -> Counter[str]:
    """How often each thing was done, as those to whom it was done have counted."""
    effects = Counter(workspace.effects.read_text().splitlines())
    for line in _git(workspace, "reflog", "show", "--format=%H", "HEAD").splitlines():
        effects[f"checkout {line}"] += 1
    effects["sealed"] = len(sealed_points(workspace))
    effects["kept"] = len(list(kept_databases(workspace)))
    return effects


def sealed_points(workspace: Workspace) -> list[Path]:
    """Every restore point."""
    return sorted(
        path.parent for path in workspace.state_dir.glob("restore-points/*/manifest.json")
    )


def kept_databases(workspace: Workspace) -> Iterator[Path]:
    """Databases that a rollback has replaced and kept."""
    yield from workspace.state_dir.glob("replaced/*/shop.db*")


# --- what is left over ----------------------------------------------------------------------


def leftovers_of(workspace: Workspace) -> list[str]:
    """What nobody needs any more; empty, if all is well."""
    found = [str(path) for path in workspace.tmpfs.iterdir()]
    found.extend(str(path) for path in workspace.root.rglob("*") if _is_unfinished(path))
    owned = {str(entry) for entry in _warm_ways_back(workspace)} | {
        f"{workspace.database}{suffix}" for suffix in ("", "-wal", "-shm")
    }
    beside = {str(p) for p in workspace.database.parent.iterdir() if p != workspace.uploads}
    found.extend(sorted(beside - owned))
    for point in sealed_points(workspace):
        known = {"manifest.json", "manifest.json.sha256", "databases", "volumes"}
        found.extend(str(path) for path in point.iterdir() if path.name not in known)
        found.extend(str(p) for p in (point / "databases").glob("*") if p.name != "db.sqlite")
    return found


def _is_unfinished(path: Path) -> bool:
    name = path.name
    is_lock = name.endswith(".lock") and ".git" in path.parts
    is_raw_output = name == "raw" and path.is_symlink()
    is_staged = name.startswith((".creating-", STAGED_PREFIX, ".staging-", "traceback-"))
    return is_staged or is_lock or is_raw_output or name.endswith((".part", ".rbtmp"))


def _warm_ways_back(workspace: Workspace) -> Iterator[Path]:
    for point in sealed_points(workspace):
        for entry in json.loads((point / "manifest.json").read_bytes())["databases"]:
            if entry["warm"]:
                yield Path(entry["warm"])


# --- the journal ----------------------------------------------------------------------------


def runs_of(workspace: Workspace) -> list[Recorded]:
    """Every run, oldest first."""
    settings = load_settings(os.environ, state_dir=str(workspace.state_dir), is_interactive=False)
    with open_app(settings, is_read_only=True) as app:
        return [app.ledger.recorded(s.run_id) for s in reversed(app.ledger.runs(RunFilter()))]


def repeated_steps(run: Recorded) -> list[str]:
    """The steps that were started again after they were completed."""
    completed: set[str] = set()
    repeated = []
    for event in run.events:
        if isinstance(event, StepSucceeded):
            completed.add(event.step)
        if isinstance(event, DoubtSettled) and event.verdict is Verdict.DONE:
            completed.add(event.step)
        if isinstance(event, StepStarted) and event.step in completed:
            repeated.append(event.step)
    return repeated


def was_resumed(run: Recorded) -> bool:
    """Whether somebody took it up again."""
    return any(isinstance(event, RunResumed) for event in run.events)
