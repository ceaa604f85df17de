"""A PostgreSQL that is a service of a stack of a test's own, and the steps that act on it."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from runbook.kinds import CompletedStep, Result
from runbook.resources import Postgres
from runbook.restore.postgres_by_hand import identifier
from runbook.steps import backup_db, load_restore_point, restore_db, seal_restore_point
from runbook.steps.backup_db import BackupDb
from runbook.steps.load_restore_point import LoadRestorePoint
from runbook.steps.restore_db import RestoreDb
from runbook.steps.seal_restore_point import SealRestorePoint

if TYPE_CHECKING:
    from tests.real.conftest import MakeStack, Project, Stack

DATABASE = Postgres(
    name="db", service="stack/postgres", database="shop", user="boss", password="hush"
)
COMPOSE = """
    services:
      postgres:
        image: runbook-test/postgres:{version}
        environment: {{POSTGRES_PASSWORD: hush, POSTGRES_DB: shop, POSTGRES_USER: boss}}
        healthcheck:
          test: [CMD, pg_isready, -h, 127.0.0.1, -U, boss, -d, shop]
          interval: 300s
"""


@dataclass(kw_only=True)
class Shop:
    """A server with a database, and the steps that back it up and restore it."""

    stack: "Stack"
    database: Postgres = DATABASE
    completed: list[CompletedStep] = field(default_factory=list)

    def context(self, step_id: str, **fields: Any) -> Any:
        # Operations name helper containers, and tests run beside each other on one engine.
        return self.stack.context(
            run_id=f"run-{self.stack.project}",
            step_id=step_id,
            resources={"db": self.database},
            completed=list(self.completed),
            **fields,
        )

    def databases(self) -> set[str]:
        """The names of the server's databases that are this one's, or were made for it."""
        names = "SELECT datname FROM pg_database WHERE datname LIKE 'shop%'"
        return set(self.sql(names, "postgres").splitlines())

    def sql(self, query: str, database: str = "shop") -> str:
        words = ["psql", "-U", "boss", "-d", database, "-At", "-v", "ON_ERROR_STOP=1", "-c", query]
        return self.stack.compose("exec", "-T", "postgres", *words).strip()

    def did(self, kind: Any, step_id: str, spec: Any, **fields: Any) -> Any:
        """Run a step, and let later ones see it."""
        context = self.context(step_id, **fields)
        result = kind.STEP.run(spec, context)
        outputs = result.outputs if isinstance(result, Result) else result
        changed = result.changed if isinstance(result, Result) else False
        self.completed.append(
            CompletedStep(
                id=step_id,
                kind=kind.__name__.rpartition(".")[2],
                outputs=outputs.model_dump(mode="json"),
                changed=changed,
            )
        )
        return outputs

    def back_up(self, verify: str = "read_back") -> str:
        """Back it up, seal, and load the restore point; its id."""
        self.did(backup_db, "dump", BackupDb(database=self.database))
        spec = SealRestorePoint.model_validate({"verify": verify})
        point = str(self.did(seal_restore_point, "seal", spec).id)
        self.did(load_restore_point, "point", LoadRestorePoint(point=point))
        return point

    def restore(self, phase: str = "all", **fields: Any) -> Any:
        spec = RestoreDb.model_validate(
            {"database": "db", "phase": phase}, context={"resources": {"db": self.database}}
        )
        return self.did(restore_db, f"restore_{phase}", spec, **fields)

    def is_open(self) -> bool:
        """Whether anybody is let into the database."""
        query = "SELECT datallowconn FROM pg_database WHERE datname = 'shop'"
        return self.sql(query, "postgres") == "t"

    @contextmanager
    def frozen_session(self) -> Iterator[None]:
        """A session that does not end when it is told to: its process is stopped."""
        container = f"{self.stack.project}-postgres-1"
        sleeper = ["exec", "-d", container, "psql", "-U", "boss", "shop"]
        self.stack.docker(*sleeper, "-c", "SELECT pg_sleep(600)")
        find = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        self.stack.eventually(lambda: self.sql(find, "postgres").isdigit(), "somebody sleeps")
        pid = self.sql(find, "postgres")
        self.stack.docker("exec", container, "kill", "-STOP", pid)
        yield
        self.stack.docker("exec", container, "kill", "-CONT", pid)

    def dumped(self) -> str:
        """All of the database as text, told by PostgreSQL itself; what differs each time is out."""
        words = ["pg_dump", "-U", "boss", "--create", self.database.database]
        text = self.stack.compose("exec", "-T", "postgres", *words)
        lines = [line for line in text.splitlines() if not re.match(r"\\(un)?restrict ", line)]
        # PostgreSQL itself writes this expression otherwise once it has read it again.
        first = "(ARRAY['new'::character varying, 'old'::character varying])::text[]"
        then = "ARRAY[('new'::character varying)::text, ('old'::character varying)::text]"
        return "\n".join(lines).replace(first, then)

    @contextmanager
    def session(
        self, *statements: str, database: str = "shop", user: str = "boss"
    ) -> Iterator[str]:
        """A session that has run these and stays; its pid."""
        words = ["exec", "-T", "postgres", "psql", "-U", user, "-d", database, "-qAt"]
        argv = ["docker", "compose", "--project-name", self.stack.project, *words]
        with subprocess.Popen(
            argv,
            cwd=self.stack.root,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as running:
            assert running.stdin is not None and running.stdout is not None
            running.stdin.write(";\n".join([*statements, "SELECT pg_backend_pid()", ""]))
            running.stdin.flush()
            lines = iter(running.stdout.readline, "")
            yield next(line.strip() for line in lines if line.strip().isdigit())
            running.stdin.close()


def bring_up(stack: "Stack") -> None:
    """Start the server and wait until it serves: the engine's own rounds cost too much to wait."""
    stack.compose("up", "--detach")
    words = ["pg_isready", "--quiet", "--host=127.0.0.1"]
    argv = ["docker", "exec", f"{stack.project}-postgres-1", *words]

    def serves() -> bool:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    stack.eventually(serves, "PostgreSQL serves", within_s=90.0)


MakeShop = Callable[[str], Shop]


@pytest.fixture
def make_shop(make_stack: "MakeStack") -> MakeShop:
    """`make_shop(version)`: a server of that version with an empty database."""

    def make(version: str = "17") -> Shop:
        stack = make_stack(COMPOSE.format(version=version))
        bring_up(stack)
        return Shop(stack=stack)

    return make


@pytest.fixture(scope="module")
def server(
    engine: None, tmp_path_factory: pytest.TempPathFactory, eventually: Any
) -> Iterator["Stack"]:
    """A server of PostgreSQL 17 for all tests of a module; each brings its own contexts."""
    from tests.real.conftest import stack_at

    no_contexts: Any = None
    stack = stack_at(tmp_path_factory.mktemp("server"), no_contexts, eventually)
    settings = "command: [postgres, -c, max_prepared_transactions=5, -c, wal_level=logical]"
    stack.write(f"{COMPOSE.format(version='17').rstrip()}\n        {settings}\n")
    bring_up(stack)
    yield stack
    stack.remove()


@pytest.fixture
def shop(server: "Stack", make_context: Any, projects: "list[Project]") -> Shop:
    """An empty database on the module's server."""
    projects.append(server)
    made = Shop(stack=replace(server, make_context=make_context))
    for database in made.databases():
        made.sql(f"DROP DATABASE {identifier(database)} WITH (FORCE)", "postgres")
    made.sql("CREATE DATABASE shop", "postgres")
    return made
