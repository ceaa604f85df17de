"""The container engine restarts in the middle of a run: one of the test's own, not the ground's."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Eventually
from tests.real.conftest import Project, project_name
from tests.real.own_engine import Engine
from tests.real.shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]

IMAGE = "runbook-test/base:bookworm"
IMAGES_OF_SHOP = [
    f"runbook-test/{name}" for name in ("postgres:17", "minio:1", "redis:1", "python:1")
]
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
  store: {image: "runbook-test/base:bookworm", command: [sleep, "600"], network_mode: bridge}
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
class Small:
    """A stack of two services with a runbook, on an engine of its own."""

    engine: Engine
    place: Path

    def start(self, *words: str) -> "subprocess.Popen[str]":
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "runbook", "--state-dir", str(self.place / "state"), *words],
            cwd=self.place,
            env={**kept, "DOCKER_HOST": self.engine.host},
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

    def container_of(self, service: str) -> str:
        told = self.engine.docker("inspect", "--format", "{{.Id}}", f"restarted-{service}-1")
        assert told is not None
        return told

    def is_running(self, service: str) -> bool:
        told = self.engine.docker("inspect", f"restarted-{service}-1")
        return told is not None and bool(json.loads(told)[0]["State"]["Running"])


@pytest.fixture
def small(own_engine: Engine, tmp_path: Path) -> Small:
    """The stack before its first release."""
    texts = {"compose": STACK, "release": RUNBOOK, "once": ONCE, "holding": HOLDING}
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    own_engine.load(IMAGE)
    return Small(engine=own_engine, place=tmp_path)


def test_a_release_during_which_the_engine_restarts_comes_up_all_the_same(
    small: Small, eventually: Eventually
) -> None:
    process = small.start("run", "release.yaml")
    eventually(lambda: small.is_running("web"), "a container that is waited for", 60.0)
    small.engine.end()
    small.engine.begin()
    (small.place / "good").touch()

    status, text = small.told(process)

    assert status == 0, text
    assert small.is_running("store")
    assert small.is_running("web")


def test_a_release_killed_with_its_engine_is_resumed_on_the_next_one(
    small: Small, eventually: Eventually
) -> None:
    process = small.start("run", "release.yaml")
    eventually(lambda: small.is_running("web"), "a container that is waited for", 60.0)
    small.engine.end()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    refused, text = small.told(small.start("resume"))
    small.engine.begin()
    (small.place / "good").touch()

    status, resumed = small.told(small.start("resume"))

    assert refused != 0
    assert "the container engine does not answer" in text
    assert status == 0, resumed
    assert small.is_running("web")


def test_what_a_restarted_engine_does_not_start_again_is_brought_up_before_all_else(
    small: Small, eventually: Eventually
) -> None:
    process = small.start("run", "holding.yaml")
    eventually((small.place / "asked").exists, "the step after it", 60.0)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    small.engine.end()
    small.engine.begin()
    was_running, container = small.is_running("store"), small.container_of("store")
    (small.place / "good").touch()

    status, resumed = small.told(small.start("resume"))

    assert not was_running
    assert status == 0, resumed
    assert small.is_running("store")
    assert small.container_of("store") == container


# --- the whole sample stack -----------------------------------------------------------------


@pytest.fixture
def shop(own_engine: Engine, tmp_path: Path) -> Iterator[Shop]:
    """The sample stack on an engine of its own, with its first release deployed."""
    own_engine.load(*IMAGES_OF_SHOP)
    with own_engine.inside(), pytest.MonkeyPatch.context() as patched:
        patched.setenv("DOCKER_HOST", own_engine.host)
        made = Shop(stack=Project(root=tmp_path, project=project_name(tmp_path)))
        made.make_deployed()
        yield made


def restarted_in(shop: Shop, engine: Engine, step: str, *words: str, is_killed: bool) -> int:
    """Start the program, restart the engine in that step, resume what has not ended; its status."""
    with shop.start(*words, "--output", "jsonl") as process:
        assert process.stdout is not None
        for event in map(json.loads, process.stdout):
            if event["type"] == "StepStarted" and event["step"] == step:
                if is_killed:
                    os.killpg(process.pid, signal.SIGKILL)
                engine.end()
                engine.begin()
    status = process.returncode
    if status in (-signal.SIGKILL, 4):
        told = shop.runbook("resume")
        status = told.status
        print(told.text)
    return status


def test_a_restart_of_the_engine_under_the_whole_stack_costs_time_and_nothing_else(
    shop: Shop, own_engine: Engine
) -> None:
    back = ["rollback", "--set", "data=restore", "--yes"]

    released = restarted_in(shop, own_engine, "release", *shop.deploying("v2"), is_killed=True)
    tag, answered = shop.git("describe", "--tags"), shop.ask("/items")
    rolled_back = restarted_in(shop, own_engine, "database", *back, is_killed=True)
    world = shop.world()
    watched = restarted_in(
        shop, own_engine, "watch", *shop.deploying("v2", watch="60s"), is_killed=False
    )

    assert (released, rolled_back, watched) == (0, 0, 3)
    assert tag == "v2"
    assert answered["newest"] == "one"
    assert world == shop.start_world
    assert shop.world() == shop.start_world
