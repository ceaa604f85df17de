"""A real Context for tests of step kinds: temporary directories, real processes, real clock."""

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import pytest

from runbook.core.events import Trigger
from runbook.core.plan import JsonObject
from runbook.errors import TimedOut
from runbook.kinds import CompletedStep, Outputs, PlanStep, Result, UndoneRun
from runbook.registry import discover
from runbook.resources import Directory, Sqlite
from runbook.secret import Secret
from runbook.tools.files import write_durably
from runbook.tools.process import Command, Completed
from tests.conftest import small_tmpfs


@dataclass(kw_only=True)
class RealContext:
    """Satisfies `runbook.kinds.Context`; every field may be set by a test, at any time."""

    run_id: str
    step_id: str
    state_dir: Path
    scratch: Path
    attempt: int = 1
    project: str = "shop"
    trigger: Trigger = Trigger.OPERATOR
    pinned: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    completed: Sequence[CompletedStep] = ()
    undone: UndoneRun | None = None
    needed_points: Collection[str] = ()
    plan_steps: Sequence[PlanStep] = ()
    baseline: Mapping[str, str] = field(default_factory=dict)
    progress: JsonObject | None = None
    timeout_s: float = 60.0
    logged: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    on_check: Callable[[], None] = lambda: None
    """Called by `check` and `sleep`; raise StepStopped here to stop the step."""

    def __post_init__(self) -> None:
        self._ends_at = time.monotonic() + self.timeout_s

    @property
    def operation(self) -> str:
        return sha256(f"{self.run_id}/{self.step_id}".encode()).hexdigest()[:12]

    def now(self) -> datetime:
        return datetime.now(UTC)

    def remaining_s(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def check(self) -> None:
        self.on_check()
        if self.remaining_s() <= 0:
            raise TimedOut(f"not done within {self.timeout_s} s")

    def sleep(self, seconds: float) -> None:
        self.check()
        time.sleep(min(seconds, self.remaining_s()))
        self.check()

    def record_progress(self, progress: JsonObject) -> None:
        self.progress = progress

    def log(self, text: str) -> None:
        self.logged.append(text)

    def show(self, line: str) -> None:
        self.shown.append(line)

    def run(self, command: Command) -> Completed:
        revealed = {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in command.environment.items()
        }
        stdin = command.stdin.reveal() if isinstance(command.stdin, Secret) else command.stdin
        base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        try:
            ended = subprocess.run(
                command.argv,
                cwd=command.directory,
                env={**base, "LANG": "C.UTF-8", **revealed},
                input=stdin or "",
                capture_output=True,
                text=True,
                check=False,
                timeout=self.remaining_s(),
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"not done within {self.timeout_s} s") from error
        code = ended.returncode if ended.returncode >= 0 else 128 - ended.returncode
        return Completed(exit_code=code, stdout=ended.stdout, stderr=ended.stderr)


MakeContext = Callable[..., RealContext]


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    """`make_context(run_id=…, step_id=…, …)`: contexts that share one state directory."""
    state_dir = tmp_path / "state"
    state_dir.mkdir(mode=0o700, exist_ok=True)

    def make(run_id: str = "run-1", step_id: str = "step", **fields: Any) -> RealContext:
        context = RealContext(
            run_id=run_id,
            step_id=step_id,
            state_dir=fields.pop("state_dir", state_dir),
            scratch=fields.pop("scratch", tmp_path / "scratch" / run_id / step_id),
            **fields,
        )
        context.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return context

    return make


@dataclass(kw_only=True)
class Shop:
    """A project with a database and uploads, deployed and rolled back step by step."""

    root: Path
    make_context: MakeContext
    deployed: list[CompletedStep] = field(default_factory=list)
    undoing: list[CompletedStep] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.db = Sqlite(path=self.root / "shop.db", name="db")
        self.uploads = Directory(path=self.root / "uploads", name="uploads")

    def fill(self, rows: int = 20) -> None:
        """A database in WAL mode and a few files."""
        self.sql("PRAGMA journal_mode = WAL", "CREATE TABLE orders (id INTEGER PRIMARY KEY, item)")
        self.sql(*["INSERT INTO orders (item) VALUES ('before')"] * rows)
        (self.uploads.path / "sub").mkdir(parents=True)
        (self.uploads.path / "a.txt").write_text("before")
        (self.uploads.path / "sub" / ".hidden").write_text("before")

    def sql(self, *statements: str) -> list[Any]:
        """Run statements on the live database, commit, and return the last one's rows."""
        connection = sqlite3.connect(self.db.path)
        rows: list[Any] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        connection.close()
        return rows

    def count_orders(self, path: Path | None = None) -> int:
        """How many orders there are, live or in another database file."""
        connection = sqlite3.connect(path or self.db.path)
        (count,) = connection.execute("SELECT count(*) FROM orders").fetchone()
        connection.close()
        return int(count)

    def step(self, kind: str, context: RealContext, **params: Any) -> Any:
        """Run a step of that kind, note it in the context as completed, return its outputs."""
        step_kind = discover().find(kind)
        ended = step_kind.run(step_kind.spec(**params), context)
        assert isinstance(ended, Outputs | Result)
        result = ended if isinstance(ended, Result) else Result(ended, changed=False)
        outputs = step_kind.outputs.model_validate(result.outputs.model_dump(mode="json"))
        done = CompletedStep(
            id=context.step_id,
            kind=kind,
            outputs=outputs.model_dump(mode="json"),
            changed=result.changed,
        )
        (self.undoing if context.undone else self.deployed).append(done)
        return outputs

    def deploy_context(self, step_id: str, run_id: str = "deploy-1", **fields: Any) -> RealContext:
        """For a step of the deploy."""
        fields.setdefault("resources", {"db": self.db, "uploads": self.uploads})
        return self.make_context(run_id, step_id, completed=list(self.deployed), **fields)

    def rollback_context(self, step_id: str, **fields: Any) -> RealContext:
        """For a step of the rollback."""
        undone = UndoneRun(
            run_id="deploy-1", completed=self.deployed, failed_step=None, failure=None
        )
        completed = list(self.undoing)
        fields.setdefault("resources", {"db": self.db, "uploads": self.uploads})
        return self.make_context(
            "rollback-1", step_id, completed=completed, undone=undone, **fields
        )

    def back_up(
        self, run_id: str = "deploy-1", verify: str = "read_back", level: str = "stopped"
    ) -> Any:
        """Everything up to the sealed restore point, whose outputs are returned."""
        self.step("backup_db", self.deploy_context("dump", run_id), database=self.db)
        files = self.deploy_context("files", run_id)
        self.step("snapshot_volume", files, volume=self.uploads, level=level)
        return self.step("seal_restore_point", self.deploy_context("seal", run_id), verify=verify)

    def load(self) -> Any:
        """The restore point, loaded by the rollback."""
        return self.step("load_restore_point", self.rollback_context("point"))


@pytest.fixture
def shop(tmp_path: Path, make_context: MakeContext) -> Shop:
    """A project that has nothing yet; `fill` gives it data."""
    root = tmp_path / "shop"
    root.mkdir()
    return Shop(root=root, make_context=make_context)


RunAndKill = Callable[..., None]


@pytest.fixture
def run_and_kill(tmp_path: Path) -> RunAndKill:
    """Runs a step in a child process that is killed by SIGKILL after so many seconds of work.

    What it recorded as progress, each record durable, is in the context afterwards.
    """
    progress_file = tmp_path / "progress.json"

    def run(kind: str, context: RealContext, params: dict[str, Any], *, after_s: float) -> None:
        progress_file.unlink(missing_ok=True)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _run_in_child(kind, context, params, progress_file, writing)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        time.sleep(after_s)
        os.kill(child, 9)
        os.waitpid(child, 0)
        if progress_file.exists():
            context.progress = json.loads(progress_file.read_text())

    return run


def _run_in_child(
    kind: str, context: RealContext, params: dict[str, Any], progress_file: Path, ready: int
) -> NoReturn:
    def record(progress: JsonObject) -> None:
        write_durably(progress_file, json.dumps(progress).encode())
        context.progress = progress

    step_kind = discover().find(kind)
    spec = step_kind.spec(**params)
    context.record_progress = record  # type: ignore[method-assign] # a child's memory is lost
    os.write(ready, b"x")
    try:
        step_kind.run(spec, context)
    finally:
        os._exit(0)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    with small_tmpfs(mount, "size=2m,mode=0700"):
        yield mount
