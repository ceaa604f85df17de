"""The container engine restarts in the middle of a run: one of the test's own, not the ground's."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import Eventually, is_ci

pytestmark = [pytest.mark.real, pytest.mark.slow]

BRIDGE = Path("/sys/class/net/docker0")
"""Of the machine's engine: a second one must not touch it."""
IMAGE = "runbook-test/base:bookworm"
STACK = """
services:
  store:
    image: runbook-test/base:bookworm
    command: [sleep, "600"]
    network_mode: none
    restart: unless-stopped
  web:
    image: runbook-test/base:bookworm
    command: [sleep, "600"]
    network_mode: none
    restart: unless-stopped
    volumes: [".:/here"]
    healthcheck: {test: [CMD, test, -e, /here/good], interval: 300s}
    depends_on: {store: {condition: service_started}}
"""
ONCE = """
services:
  store: {image: "runbook-test/base:bookworm", command: [sleep, "600"], network_mode: none}
"""
HOLDING = """
runbook: v1
name: holding
resources:
  stack: {compose: {project: restarted, files: [once.yaml]}}
steps:
  - {id: up, uses: compose_up, with: {stack: stack}}
  - id: ask
    uses: command
    with: {argv: [sh, -c, "touch asked; until test -e good; do sleep 0.1; done"], effect: reads}
    rerun: safe
  - id: services
    uses: service_check
    with: {stack: stack, services: [store]}
"""
RUNBOOK = """
runbook: v1
name: release
resources:
  stack: {compose: {project: restarted, files: [compose.yaml]}}
steps:
  - id: release
    uses: compose_up
    with: {stack: stack, ready_within: 60s}
  - id: services
    uses: service_check
    with: {stack: stack, services: [store, web]}
"""


@dataclass(kw_only=True)
class Engine:
    """A container engine that nobody else uses, and a stack with a runbook on it."""

    root: Path
    eventually: Eventually
    _daemon: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"unix://{self.root}/engine.sock"

    @property
    def is_up(self) -> bool:
        return bool(self._daemon)

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "DOCKER_HOST": self.host}

    def begin(self) -> None:
        words = ["--data-root", "data", "--exec-root", "exec", "--pidfile", "pid"]
        places = [word if word.startswith("--") else str(self.root / word) for word in words]
        with (self.root / "engine.log").open("ab") as log:
            daemon = subprocess.Popen(
                # Without a network of its own it would take the bridge of the machine's engine.
                ["unshare", "--net", "dockerd", "--host", self.host, *places, "--iptables=false"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._daemon.append(daemon)
        self.eventually(lambda: self.docker("info") is not None, "an engine that answers", 60.0)

    def end(self) -> None:
        daemon = self._daemon.pop()
        daemon.terminate()
        daemon.wait(60)

    def docker(self, *words: str) -> str | None:
        """What it tells; None: it does not."""
        ended = subprocess.run(
            ["docker", *words], env=self.environment(), capture_output=True, text=True, check=False
        )
        return ended.stdout if ended.returncode == 0 else None

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "runbook", "--state-dir", str(self.root / "state"), *words],
            cwd=self.root / "stack",
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def told(self, process: "subprocess.Popen[str]") -> tuple[int, str]:
        text = process.communicate(timeout=180)[0]
        assert "Traceback" not in text, text
        return process.returncode, text

    def is_running(self, service: str) -> bool:
        told = self.docker("inspect", f"restarted-{service}-1")
        return told is not None and bool(json.loads(told)[0]["State"]["Running"])


@pytest.fixture
def own(engine: None, eventually: Eventually) -> Iterator[Engine]:
    """An engine of the test's own, which has the image."""
    if (os.geteuid() != 0 or shutil.which("dockerd") is None) and not is_ci():
        pytest.skip("only root can start a container engine")
    root = Path(tempfile.mkdtemp(prefix="rbt"))  # its sockets' names must be short
    had_bridge = BRIDGE.exists()
    made = Engine(root=root, eventually=eventually)
    (root / "stack").mkdir()
    (root / "stack" / "compose.yaml").write_text(STACK)
    (root / "stack" / "release.yaml").write_text(RUNBOOK)
    (root / "stack" / "once.yaml").write_text(ONCE)
    (root / "stack" / "holding.yaml").write_text(HOLDING)
    try:
        made.begin()
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "load", "--quiet"],
                stdin=saved.stdout,
                env=made.environment(),
                check=True,
            )
        assert saved.returncode == 0
        yield made
    finally:
        if made.is_up:
            ids = (made.docker("ps", "-aq") or "").split()
            made.docker("rm", "-f", *ids)
            made.end()
        shutil.rmtree(root, ignore_errors=True)
        assert BRIDGE.exists() == had_bridge


def test_a_release_during_which_the_engine_restarts_comes_up_all_the_same(own: Engine) -> None:
    process = own.start("run", "release.yaml")
    own.eventually(lambda: own.is_running("web"), "a container that is waited for", 60.0)
    own.end()
    own.begin()
    (own.root / "stack" / "good").touch()

    status, text = own.told(process)

    assert status == 0, text
    assert own.is_running("store")
    assert own.is_running("web")


def test_a_release_killed_with_its_engine_is_resumed_on_the_next_one(own: Engine) -> None:
    process = own.start("run", "release.yaml")
    own.eventually(lambda: own.is_running("web"), "a container that is waited for", 60.0)
    own.end()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    refused, text = own.told(own.start("resume"))
    own.begin()
    (own.root / "stack" / "good").touch()

    status, resumed = own.told(own.start("resume"))

    assert refused != 0
    assert "the container engine does not answer" in text
    assert status == 0, resumed
    assert own.is_running("web")


def test_what_a_restarted_engine_does_not_start_again_is_brought_up_before_all_else(
    own: Engine,
) -> None:
    process = own.start("run", "holding.yaml")
    own.eventually((own.root / "stack" / "asked").exists, "the step after it", 60.0)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    own.end()
    own.begin()
    was_running = own.is_running("store")
    (own.root / "stack" / "good").touch()

    status, resumed = own.told(own.start("resume"))

    assert not was_running
    assert status == 0, resumed
    assert own.is_running("store")
