"""Places to run the program in: a desk with small runbooks, and the shop of the demo."""

import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]  # it brings no types
import pytest

from runbook.cli.demo import make_workspace
from runbook.core.events import ApprovalRequested, Event
from runbook.core.journal import Batch, RunFilter
from runbook.stores.sqlite import SqliteJournal
from runbook.tools.supervisor import start_time_of

Eventually = Callable[..., None]
PATIENCE_S = 40
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a command line came to."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that a person saw."""
        return self.err + self.out

    @property
    def last_line(self) -> str:
        """Where the command that goes on stands."""
        return self.out.rstrip().splitlines()[-1]


@dataclass(kw_only=True)
class Place:
    """A directory with runbooks, and the program over a state directory of its own."""

    root: Path
    eventually: Eventually
    environ: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    program: list[str] = field(default_factory=lambda: [sys.executable, "-m", "runbook"])

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def has_begun(self) -> bool:
        """Whether a run is recorded."""
        try:
            with closing(
                sqlite3.connect(f"{(self.state / 'journal.db').as_uri()}?mode=ro", uri=True)
            ) as db:
                return bool(db.execute("SELECT count(*) FROM run").fetchone()[0])
        except sqlite3.OperationalError:
            return False

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        return {**kept, "RUNBOOK_STATE_DIR": str(self.state), **self.environ, **more}

    def runbook(self, *arguments: str, **environ: str) -> Told:
        """Run the program without a terminal, to its end."""
        return self.ended(self.start(*arguments, **environ))

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start the program without a terminal, in a process group of its own."""
        process = subprocess.Popen(
            [*self.program, *arguments],
            cwd=self.root,
            env=self.environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def ended(self, process: subprocess.Popen[str]) -> Told:
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in out + err, out + err
        return Told(status=process.returncode, out=out, err=err)

    def on_terminal(self, *arguments: str) -> "pexpect.spawn[str]":
        """Start the program on a terminal of its own."""
        return pexpect.spawn(
            self.program[0],
            [*self.program[1:], *arguments],
            cwd=self.root,
            env={**self.environment(), "TERM": "xterm"},
            encoding="utf-8",
            timeout=PATIENCE_S,
            dimensions=(50, 160),
        )

    def typed(self, line: str) -> Told:
        """Type a line that the program has shown, as it stands."""
        process = subprocess.run(
            ["bash", "-c", line],
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Told(status=process.returncode, out=process.stdout, err=process.stderr)

    def kill(self, process: subprocess.Popen[str], *, is_group: bool = False) -> None:
        """kill -9, of the interpreter alone or of its whole process group."""
        if is_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate(timeout=PATIENCE_S)

    def history(self) -> list[Mapping[str, Any]]:
        """Every run, oldest first."""
        runs: list[Mapping[str, Any]] = json.loads(self.runbook("history", "-o", "json").out)[
            "runs"
        ]
        return list(reversed(runs))

    def age(self, by: timedelta) -> None:
        """Make the whole journal older, as if everything had happened that long ago."""
        path = self.state / "journal.db"
        journal = SqliteJournal.open(path)
        found = [(s.run_id, journal.read(s.run_id)) for s in journal.runs(RunFilter())]
        journal.close()
        for file in self.state.glob("journal.db*"):
            file.unlink()
        journal = SqliteJournal.open(path)
        for number, (run_id, events) in enumerate(reversed(found)):
            journal.append(
                [
                    Batch(
                        run_id=run_id,
                        expected_seq=0,
                        events=tuple(_older(event, by) for event in events),
                        ids=tuple(f"aged-{number}-{at}" for at in range(len(events))),
                    )
                ]
            )
        journal.close()

    def world(self) -> dict[str, str]:
        """Every file but those of the program itself, by its sum.

        Without what SQLite makes of a WAL database and removes again when it is last closed: its
        index, and a log with nothing in it.
        """
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
            and not path.is_relative_to(self.state)
            and not path.name.endswith("-shm")
            and not (path.name.endswith("-wal") and path.stat().st_size == 0)
        }

    def clean_up(self) -> None:
        """End whatever a scenario has left running."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        for marker in self.state.glob("attempts/*/*/call-*/spawned"):
            pid, began = marker.read_text().split()
            _kill_session(int(pid), began)
        for record in self.state.glob("processes/*.json"):
            process = json.loads(record.read_text())
            _kill_session(int(process["pid"]), str(process["started_at"]))


def _older(event: Event, by: timedelta) -> Event:
    older = replace(event, at=event.at - by)
    if isinstance(older, ApprovalRequested) and older.expires_at:
        return replace(older, expires_at=older.expires_at - by)
    return older


def _kill_session(leader: int, began: str) -> None:
    """Kill what is left of a session; its leader may be gone, and its pid somebody else's.

    Even while we look: whom we kill is held first, and only then is the leader looked at.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if os.getsid(int(entry.name)) == leader:
                    held = os.pidfd_open(int(entry.name))
                    if start_time_of(leader) in ("", began):
                        signal.pidfd_send_signal(held, signal.SIGKILL)
                    os.close(held)


@dataclass(kw_only=True)
class Desk(Place):
    """Small runbooks of `command` steps that leave traces."""

    def write(self, name: str, text: str) -> str:
        """Write a runbook; returns its name for the command line."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    @property
    def traces(self) -> list[str]:
        """What the steps have done to the world, in order."""
        path = self.root / "traces"
        return path.read_text().split() if path.exists() else []

    def traced(self, trace: str) -> None:
        """Wait until a step has left that trace."""
        self.eventually(lambda: trace in self.traces, f"the trace `{trace}`", 20.0)

    def open_gate(self) -> None:
        """Let the commands that wait for the gate end."""
        (self.root / "gate").touch()


ROLLBACK = """\
runbook: v1
name: rollback
for: deploy.yaml
steps:
  - id: undo
    uses: command
    with: {script: "echo undone >> traces"}
    rerun: safe
    undoes: [change]
"""
"""Undoes the step `change`, and leaves a trace."""


def deploy_with(change: str, *, more: str = "", after: str = "look", rerun: str = "ask") -> str:
    """A deploy that looks, then runs the script `change`, and pins `ROLLBACK`."""
    return f"""\
runbook: v1
name: deploy
steps:
  - id: look
    uses: command
    with: {{script: "echo looked >> traces", effect: reads}}
    rerun: safe
  - id: change
    uses: command
    rerun: {rerun}
    with:
      script: |
{textwrap.indent(change.strip(), " " * 8)}
{more}
on_failure: {{runbook: rollback.yaml, after: {after}}}
"""


WAIT_FOR_GATE = """\
echo began >> traces
while [ ! -e gate ]; do sleep 0.02; done
echo ended >> traces
"""
"""A change that goes on until `Desk.open_gate`."""


@pytest.fixture
def desk(tmp_path: Path, eventually: Eventually) -> Iterator[Desk]:
    """A desk whose deploy and rollback a scenario writes."""
    place = Desk(root=tmp_path / "desk", eventually=eventually)
    place.root.mkdir()
    yield place
    place.clean_up()


@dataclass(kw_only=True)
class Shop(Place):
    """The shop of the demo: database, uploads, repository and service."""

    runbooks: Path = Path("runbooks")
    """Where its runbooks lie, relative to the root."""

    @property
    def database(self) -> Path:
        return self.root / "data" / "shop.db"

    @property
    def uploads(self) -> Path:
        return self.root / "data" / "uploads"

    @property
    def repository(self) -> Path:
        return self.root / "shop"

    @property
    def url(self) -> str:
        text = (self.root / "runbooks" / "project.yaml").read_text()
        (url,) = re.findall(r"(?m)^  url: (\S+)$", text)
        return str(url)

    def deploy(self, revision: str, *, watch: str = "300ms", **environ: str) -> Told:
        """Deploy a release, watching it for a while."""
        return self.runbook(*self.deploying(revision, watch=watch), **environ)

    def deploying(self, revision: str, *, watch: str = "300ms") -> list[str]:
        given = [f"revision={revision}", f"monitoring_duration={watch}", "monitoring_interval=50ms"]
        return [
            "run",
            str(self.runbooks / "deploy.yaml"),
            *(word for value in given for word in ("--set", value)),
        ]

    def deployed(self, revision: str) -> None:
        """Deploy a release that goes well."""
        told = self.deploy(revision)
        assert told.status == 0, told.text

    def order(self, name: str) -> None:
        """Write a row and a file through the service."""
        body = json.dumps({"name": name}).encode()
        request = urllib.request.Request(
            f"{self.url}/items", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 201

    def release(self) -> str | None:
        """The name of the release that serves; None: nothing answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return str(json.load(answer)["release"])
        except urllib.error.HTTPError as error:
            with error:
                return f"{json.load(error)['release']}, bad"
        except OSError:
            return None

    def items(self, database: Path | None = None) -> list[str]:
        """The names of all rows."""
        with closing(sqlite3.connect(database or self.database)) as connection:
            return [
                str(name) for (name,) in connection.execute("SELECT name FROM items ORDER BY id")
            ]

    def head(self) -> str:
        """The commit that is checked out."""
        words = ["git", "-C", str(self.repository), "rev-parse", "HEAD"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    def change_runbook(self, name: str, old: str, new: str) -> None:
        """Edit one of the shop's runbooks."""
        path = self.root / "runbooks" / name
        text = path.read_text()
        assert old in text, old
        path.write_text(text.replace(old, new))


@pytest.fixture
def shop(tmp_path: Path, eventually: Eventually) -> Iterator[Shop]:
    """The shop before its first deploy."""
    root = tmp_path / "ws"
    root.mkdir()
    make_workspace(root, is_bad=False)
    place = Shop(root=root, eventually=eventually)
    yield place
    place.clean_up()
