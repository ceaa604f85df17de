"""The sample stack in a git repository of several releases, and how its whole world is compared."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook.tools.inventory import scan, tree_sha256
from tests.real.conftest import Stack

SOURCE = Path(__file__).with_name("stack")
RUNBOOKS = Path(__file__).parents[2] / "runbooks"
PASSWORD = "hush-hush-hush"
PROJECT = """
project: {project}
vars:
  backend: http://127.0.0.1:{backend}
  frontend: http://127.0.0.1:{frontend}
  prometheus: http://127.0.0.1:{backend}
  grafana: http://127.0.0.1:{backend}
  ready_within: 25s
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
    "ALTER TABLE orders ADD COLUMN note text DEFAULT 'none';;UPDATE items SET name = name || '!'"
)
HALF = "UPDATE items SET name = 'half';;SELECT 1 / 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a rollback must bring back."""

    commit: str
    images: Mapping[str, str]
    """By service, the id of the image that it runs."""
    services: Mapping[str, str]
    """By service, Compose's hash of its configuration, and whether it runs."""
    tables: Mapping[str, str]
    """By table, rows and a hash of all of them in order."""
    schema: str
    files: str
    """One hash over every file of MinIO's volume, with owner, mode and times."""


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

    stack: Stack
    rows: int = 2000
    verify: str = "restore"
    """How the deploy seals its restore point."""
    ports: dict[str, int] = field(default_factory=dict)

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
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
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
        (self.repository / ".env").write_text(f"{ports}SEED_ROWS={self.rows}\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.release("v1")
        self.release("v2", migration=SECOND)
        self.release("v3")
        for fault in ("health", "errors", "hang"):
            self.release(f"bad-{fault}", fault=fault, base="v1")
        self.release("bad-all", fault="health", migration=SECOND, base="v1")
        self.release("bad-migration", migration=HALF, base="v1")
        self.release("bad-build", base="v1", files={"backend/Dockerfile": "FROM nowhere/at-all\n"})
        broken = {
            "compose.yaml": "services: [this, is, broken",
            "runbooks/rollback.yaml": "}{",
            "runbooks/deploy.yaml": "runbook: v0",
        }
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

    def deploying(self, revision: str, *, watch: str = "2s") -> list[str]:
        given = [
            f"revision={revision}",
            f"monitoring_duration={watch}",
            "monitoring_interval=100ms",
        ]
        return ["run", "runbooks/deploy.yaml", *(w for each in given for w in ("--set", each))]

    def deploy(self, revision: str, *, watch: str = "2s") -> Told:
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
        containers = self.stack.containers()
        label = "com.docker.compose.config-hash"
        services = {name: each for name, each in containers.items() if "-rb-" not in name}
        return World(
            commit=self.git("rev-parse", "HEAD"),
            images={name: each["Image"] for name, each in services.items()},
            services={
                name: f"{each['Config']['Labels'][label]} {each['State']['Running']}"
                for name, each in services.items()
            },
            tables=self._tables(),
            schema=self._schema(),
            files=self._files(),
        )

    def _tables(self) -> dict[str, str]:
        listed = self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        query = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t"
        return {name: self.sql(query.format(name)) for name in listed.split()}

    def _schema(self) -> str:
        words = ["pg_dump", "-U", "shop", "--schema-only", "shop"]
        text = self.stack.docker("exec", f"{self.stack.project}-postgres-1", *words)
        lines = [line for line in text.splitlines() if "restrict " not in line]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _files(self) -> str:
        words = ["volume", "inspect", "--format", "{{.Mountpoint}}"]
        root = Path(self.stack.docker(*words, f"{self.stack.project}_minio_data").strip())
        # MinIO's own scratch: it writes there whenever it starts.
        inventory = scan(root, ignored=lambda _path: False, check=lambda: None)
        kept = {
            key: entry for key, entry in inventory.items() if not str(key).startswith(".minio.sys")
        }
        return tree_sha256(kept)

    def objects(self) -> set[str]:
        """The names of all objects in MinIO's volume."""
        words = ["volume", "inspect", "--format", "{{.Mountpoint}}"]
        root = Path(self.stack.docker(*words, f"{self.stack.project}_minio_data").strip())
        return {path.name for path in (root / "files").iterdir()}

    def remove(self) -> None:
        """Remove the images that were built; the rest goes with the stack."""
        self.stack.remove()
        pattern = f"{self.stack.project}-*"
        listed = self.stack.docker("image", "ls", "--quiet", "--filter", f"reference={pattern}")
        if found := sorted(set(listed.split())):
            self.stack.docker("image", "rm", "--force", *found)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
