"""The sample stack in a git repository of several releases, and how its whole world is compared."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import World, observe, volume

if TYPE_CHECKING:
    from tests.real.conftest import Project

SOURCE = Path(__file__).with_name("stack")
RUNBOOKS = Path(__file__).parents[2] / "runbooks"
PASSWORD = "hush-hush-hush"
HAS_FAILED = pytest.StashKey[bool]()
"""On a test that has failed: nobody knows what it left behind."""
PROJECT = """
project: {project}
vars:
  backend: http://127.0.0.1:{backend}
  frontend: http://127.0.0.1:{frontend}
  prometheus: http://127.0.0.1:{backend}
  grafana: http://127.0.0.1:{backend}
  ready_within: 40s
  migrate: [python3, migrate.py]
secrets:
  db_password: {{env: POSTGRES_PASSWORD}}
resources:
  code:  {{git: {{path: ..}}}}
  stack:
    compose:
      project: {project}
      files: [../compose.yaml]
      environment: {{POSTGRES_PASSWORD: "${{{{ secrets.db_password }}}}"}}
  db:
    postgres:
      service: stack/postgres
      database: shop
      user: shop
      password: ${{{{ secrets.db_password }}}}
  files: {{volume: {{name: {project}_minio_data, used_by: [stack/minio]}}}}
"""
SECOND = (
    "ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text DEFAULT 'none'"
    ";;UPDATE orders SET what = upper(what)"
)
HALF = "ALTER TABLE items ADD COLUMN half int;;SELECT 1 / 0"
HALF_OF_DATA = "UPDATE orders SET paid = 0 WHERE id % 2 = 0;;SELECT 1 / 0"
BROKEN_RUNBOOKS = {"runbooks/rollback.yaml": "}{", "runbooks/deploy.yaml": "runbook: v0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the program said."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.err + self.out


@dataclass(kw_only=True)
class Shop:
    """A checkout of the sample stack, and the program over a state directory of its own."""

    stack: "Project"
    rows: int = 2000
    verify: str = "restore"
    """How the deploy seals its restore point."""
    grace: str = "1s"
    """How long Compose waits for what ignores SIGTERM."""
    ports: dict[str, int] = field(default_factory=dict)
    start_world: World | None = None
    """What it was when a test was given it."""
    is_spoiled: bool = False
    """A test has done to it what the world does not show."""

    @property
    def repository(self) -> Path:
        return self.stack.root / "shop"

    @property
    def state(self) -> Path:
        return self.stack.root / "state"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['backend']}"

    def environment(self) -> dict[str, str]:
        names = ("PATH", "HOME", "LANG", "DOCKER_HOST")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return {**kept, "RUNBOOK_STATE_DIR": str(self.state), "POSTGRES_PASSWORD": PASSWORD}

    # --- making it ------------------------------------------------------------------------

    def make(self) -> None:
        """The repository, with every release as a tag, checked out before the first."""
        self.ports = {"backend": _free_port(), "frontend": _free_port()}
        shutil.copytree(SOURCE, self.repository)
        (self.repository / "gitignore").rename(self.repository / ".gitignore")
        (self.repository / "runbooks").mkdir()
        for file in RUNBOOKS.glob("*.yaml"):
            text = file.read_text().replace("verify: restore", f"verify: {self.verify}")
            (self.repository / "runbooks" / file.name).write_text(text)
        text = PROJECT.format(project=self.stack.project, **self.ports)
        (self.repository / "runbooks" / "project.yaml").write_text(text)
        ports = "".join(f"{name.upper()}_PORT={port}\n" for name, port in self.ports.items())
        more = f"SEED_ROWS={self.rows}\nGRACE={self.grace}\n"
        (self.repository / ".env").write_text(ports + more)
        self.git("init", "--quiet", "--initial-branch=main")
        self.release("v1")
        self.release("v2", migration=SECOND)
        self.release("v3")
        self.release("same", base="v1")  # its migration finds nothing to do
        for fault in ("health", "errors", "hang"):
            self.release(f"bad-{fault}", fault=fault, base="v1")
        ends = {"compose.yaml": _ending_at_once((self.repository / "compose.yaml").read_text())}
        # Its runbooks are broken too, and its compose file has lost the frontend.
        self.release("bad-all", migration=SECOND, base="v1", files={**ends, **BROKEN_RUNBOOKS})
        self.release("bad-same", base="v1", files=ends)
        self.release("bad-migration", migration=HALF, base="v1")
        self.release("bad-data", migration=HALF_OF_DATA, base="v1")
        self.release("bad-build", base="v1", files={"backend/Dockerfile": "FROM nowhere/at-all\n"})
        broken = {"compose.yaml": "services: [this, is, broken", **BROKEN_RUNBOOKS}
        self.release("bad-files", base="v1", files=broken)
        self.git("checkout", "--quiet", "--detach", "v1")

    def release(
        self,
        name: str,
        *,
        fault: str = "",
        migration: str = "",
        base: str | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Commit and tag a release."""
        if base is not None:
            self.git("checkout", "--quiet", "--detach", base)
        backend = self.repository / "backend"
        (backend / "release.py").write_text(f'RELEASE = "{name}"\nFAULT = "{fault}"\n')
        page = self.repository / "frontend" / "index.html"
        page.write_text(f"<!doctype html><title>shop</title><p>release {name}</p>\n")
        if migration:
            (backend / "migrations" / f"{name}.sql").write_text(migration)
        for path, text in (files or {}).items():
            (self.repository / path).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", name)
        self.git("tag", name)

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@invalid")
        argv = ["git", "-C", str(self.repository), *identity, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def make_deployed(self) -> None:
        """The first release, with rows in both databases, and files and an object of any owner."""
        self.make()
        self.deployed("v1")
        self.order("one")
        self.sql("CREATE TABLE visits AS SELECT generate_series(1, 10) AS visit", "audit")
        root = volume(self.stack, "minio_data")
        (root / ".odd").write_text("odd")
        (root / ".link").symlink_to("nowhere")
        for number, path in enumerate((root / ".odd", root / "files" / "one" / "xl.meta")):
            os.chown(path, 1234, 4321)
            path.chmod(0o640)
            os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number))
        self.start_world = self.world()

    def restore_points(self) -> set[str]:
        """The ids of those that are there."""
        return {path.name for path in (self.state / "restore-points").glob("[!.]*")}

    # --- using it -------------------------------------------------------------------------

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start the program, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "runbook", *words],
            cwd=self.repository,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def runbook(self, *words: str, timeout_s: float = 240.0) -> Told:
        """Run the program to its end."""
        process = self.start(*words)
        out, err = process.communicate(timeout=timeout_s)
        assert not re.search(r"(?m)^Traceback", out + err), out + err
        return Told(status=process.returncode, out=out, err=err)

    def deploying(self, revision: str, *, watch: str = "3s") -> list[str]:
        given = [
            f"revision={revision}",
            f"monitoring_duration={watch}",
            "monitoring_interval=100ms",
        ]
        return ["run", "runbooks/deploy.yaml", *(w for each in given for w in ("--set", each))]

    def deploy(self, revision: str, *, watch: str = "3s") -> Told:
        return self.runbook(*self.deploying(revision, watch=watch))

    def deployed(self, revision: str) -> None:
        """Deploy a release that goes well."""
        told = self.deploy(revision)
        assert told.status == 0, told.text

    def ask(
        self, path: str, data: Mapping[str, str] | None = None, *, timeout_s: float = 10.0
    ) -> Any:
        """What the backend answers, as JSON; None: nothing."""
        body = json.dumps(data).encode() if data is not None else None
        request = urllib.request.Request(f"{self.url}{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def order(self, name: str) -> None:
        """Write a row and an object through the backend."""
        assert self.ask("/items", {"name": name}) == {"name": name}

    def sql(self, query: str, database: str = "shop") -> str:
        words = ["psql", "-U", "shop", "-d", database, "-At", "-v", "ON_ERROR_STOP=1", "-c", query]
        return self.stack.docker("exec", f"{self.stack.project}-postgres-1", *words).strip()

    def history(self) -> list[str]:
        """How every run ended, oldest first."""
        runs = json.loads(self.runbook("history", "-o", "json").out)["runs"]
        return [run["end"] for run in reversed(runs)]

    # --- comparing ------------------------------------------------------------------------

    def world(self) -> World:
        commit = self.git("rev-parse", "HEAD")
        return observe(self.stack, commit=commit, user="shop", password=PASSWORD)

    def objects(self) -> set[str]:
        """The names of all objects in MinIO's volume."""
        return {path.name for path in (volume(self.stack, "minio_data") / "files").iterdir()}

    def set_aside(self) -> list[str]:
        """The databases that restores have put others in the place of, let in again."""
        query = "SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_\\_old%'"
        found = self.sql(query).split()
        for name in found:
            self.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true", "postgres")
        return found

    def remove(self) -> None:
        """Remove the stack, the images that were built for it and the names that runs have kept."""
        self.stack.remove()
        label = f"label=com.docker.compose.project={self.stack.project}"
        built = self.stack.docker("image", "ls", "--quiet", "--filter", label).split()
        runs = [f"reference=*/*:rb-{each.name}-*" for each in (self.state / "runs").glob("*")]
        filters = [word for run in runs for word in ("--filter", run)]
        names = ["--format", "{{.Repository}}:{{.Tag}}"]
        kept = self.stack.docker("image", "ls", *names, *filters).split() if runs else []
        if found := sorted({*built, *kept}):
            self.stack.docker("image", "rm", "--force", *found)


def _ending_at_once(compose: str) -> str:
    """That compose file with a backend that ends when it is started, and without a frontend."""
    command = "    build: ./backend\n    command: [python3, -c, raise SystemExit(7)]\n"
    head, _, rest = compose.replace("    build: ./backend\n", command).partition("  frontend:\n")
    return head + "volumes:\n" + rest.partition("\nvolumes:\n")[2]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def new_shop(
    engine: None, projects: "list[Project]", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """The sample stack before its first deploy."""
    made = _shop(tmp_path_factory)
    projects.append(made.stack)
    made.make()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def idle_shops() -> Iterator[list[Shop]]:
    """Shops that a test has left as it found them, for the next one."""
    idle: list[Shop] = []
    yield idle
    for shop in idle:
        shop.remove()


@pytest.fixture
def deployed_shop(
    engine: None,
    idle_shops: list[Shop],
    projects: "list[Project]",
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Shop]:
    """A shop with its first release deployed; a row, an object and odd files in it."""
    made = idle_shops.pop() if idle_shops else _shop(tmp_path_factory)
    projects.append(made.stack)
    if made.start_world is None:
        made.make_deployed()
    yield made
    has_failed = request.node.stash.get(HAS_FAILED, False)
    if has_failed or made.is_spoiled or made.world() != made.start_world:
        made.remove()
    else:
        idle_shops.append(made)


def _shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    from tests.real.conftest import Project, project_name

    root = tmp_path_factory.mktemp("shop")
    return Shop(stack=Project(root=root, project=project_name(root)))
