"""Compose steps through the real program: killed, taken from another journal, without an engine."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest

from tests.conftest import Eventually
from tests.real.conftest import MakeStack, Stack

pytestmark = [pytest.mark.real, pytest.mark.slow]

STACK = """
    services:
      web:
        image: runbook-test/python:1
        command: [sleep, "600"]
        restart: unless-stopped
        volumes: ["shared:/shared"]
    volumes: {shared: {}}
"""
MIGRATE = (
    "echo began >> /shared/log; until test -e /shared/go; do sleep 0.1; done;"
    " echo ended >> /shared/log"
)
RUNBOOK = """
    runbook: v1
    name: migrate
    resources:
      stack: {{compose: {{project: {project}, files: [compose.yaml]}}}}
    steps:
      - id: release
        uses: compose_up
        with: {{stack: stack}}
      - id: migrate
        uses: compose_run
        with: {{stack: stack, service: web, command: [sh, -c, {command}]}}
        rerun: ask
      - id: halt
        uses: compose_stop
        with: {{stack: stack, grace: 60s}}
"""


@dataclass(kw_only=True)
class Desk:
    """A stack with a runbook beside it, and the program over a state directory of its own."""

    stack: Stack

    def start(self, *words: str, state: str = "state", **more: str) -> "subprocess.Popen[str]":
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "runbook", "--state-dir", f"{self.stack.root}/{state}", *words],
            cwd=self.stack.root,
            env={**kept, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, **fields: str) -> tuple[int, str]:
        process = self.start(*words, **fields)
        told = process.communicate(timeout=120)[0]
        assert "Traceback" not in told, told
        return process.returncode, told

    def sh(self, script: str) -> str:
        return self.stack.docker("exec", f"{self.stack.project}-web-1", "sh", "-c", script)

    def log(self) -> list[str]:
        return self.sh("cat /shared/log 2>/dev/null || true").split()


@pytest.fixture
def desk(make_stack: MakeStack) -> Desk:
    stack = make_stack(STACK)
    text = textwrap.dedent(RUNBOOK).format(project=stack.project, command=json.dumps(MIGRATE))
    (stack.root / "migrate.yaml").write_text(text)
    return Desk(stack=stack)


def kill_while_it_migrates(
    desk: Desk, process: "subprocess.Popen[str]", eventually: Eventually
) -> None:
    eventually(
        lambda: desk.stack.is_running("web") and desk.log() == ["began"],
        "the start of the migration",
        60.0,
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_migration_that_outlives_a_kill_is_adopted_and_run_once(
    desk: Desk, eventually: Eventually
) -> None:
    process = desk.start("run", "migrate.yaml")
    kill_while_it_migrates(desk, process, eventually)

    resuming = desk.start("resume")
    desk.sh("touch /shared/go")
    told = resuming.communicate(timeout=120)[0]

    assert resuming.returncode == 0, told
    desk.stack.docker("start", f"{desk.stack.project}-web-1")
    assert desk.log() == ["began", "ended"]


def test_a_migration_that_ended_while_nobody_was_there_is_adopted_with_its_end(
    desk: Desk, eventually: Eventually
) -> None:
    process = desk.start("run", "migrate.yaml")
    kill_while_it_migrates(desk, process, eventually)
    desk.sh("touch /shared/go")
    eventually(lambda: desk.log() == ["began", "ended"], "its end in the log")

    status, told = desk.run("resume")

    assert status == 0, told
    desk.stack.docker("start", f"{desk.stack.project}-web-1")
    assert desk.log() == ["began", "ended"]


def test_after_an_abort_what_is_left_stopped_is_told_with_what_brings_it_back(
    desk: Desk,
) -> None:
    text = (desk.stack.root / "migrate.yaml").read_text()
    head, _, halt = text.partition("  - id: migrate")
    sure = "  - {id: sure, uses: approval, with: {message: Sure?}}\n"
    halt = "  - id: halt" + halt.partition("  - id: halt")[2]
    (desk.stack.root / "migrate.yaml").write_text(f"{head}{halt.rstrip()}\n{sure}")
    began = desk.run("run", "migrate.yaml")
    runs = json.loads(desk.run("history", "-o", "json")[1])["runs"]

    aborted, told = desk.run("abort", runs[0]["id"], "--reason", "mended by hand")

    assert aborted == 0, began[1] + told
    name = f"{desk.stack.project}-web-1"
    commands = [f"docker update --restart=unless-stopped {name}", f"docker start {name}"]
    assert [line.strip() for line in told.splitlines()][-2:] == commands
    for command in commands:
        desk.stack.docker(*command.split()[1:])
    assert desk.stack.is_running("web")


def test_a_volume_of_the_stacks_own_is_not_taken_for_a_claim(desk: Desk) -> None:
    desk.stack.docker("volume", "create", f"{desk.stack.project}_runbook")

    status, told = desk.run("run", "migrate.yaml")

    assert status == 6, told
    assert f"volume `{desk.stack.project}_runbook` is not a claim" in told
    assert desk.stack.containers() == {}


def test_a_run_whose_claim_was_given_up_for_another_journal_does_not_go_on(
    desk: Desk, eventually: Eventually
) -> None:
    process = desk.start("run", "migrate.yaml")
    kill_while_it_migrates(desk, process, eventually)
    journal = (desk.stack.root / "state" / "journal.id").read_text().strip()
    desk.sh("touch /shared/go")
    given_up = desk.run("abort", "--journal", journal, "--reason", "lost", state="second")
    second = desk.run("run", "migrate.yaml", state="second")

    refused, told = desk.run("resume")

    assert given_up[0] == 0, given_up[1]
    assert second[0] == 0, second[1]
    assert refused == 6, told
    assert f"--state-dir {desk.stack.root}/second status" in told


def test_the_claim_of_a_journal_that_is_at_work_is_not_given_up(
    desk: Desk, eventually: Eventually
) -> None:
    process = desk.start("run", "migrate.yaml")
    eventually(lambda: desk.stack.is_running("web") and desk.log() == ["began"], "its work", 60.0)
    journal = (desk.stack.root / "state" / "journal.id").read_text().strip()

    refused, told = desk.run("abort", "--journal", journal, "--reason", "lost", state="second")
    desk.sh("touch /shared/go")
    ended = process.communicate(timeout=120)[0]

    assert refused == 6, told
    assert "is not lost, it is at work" in told
    assert f"process {process.pid} (alive)" in told
    assert process.returncode == 0, ended


def test_without_an_engine_nothing_begins_and_the_message_says_why(desk: Desk) -> None:
    status, told = desk.run(
        "run", "migrate.yaml", DOCKER_HOST=f"unix://{desk.stack.root}/none.sock"
    )

    assert status == 7, told
    assert "the container engine does not answer" in told
