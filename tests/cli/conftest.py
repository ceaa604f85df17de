"""A folder with tiny runbooks, and the program called in this process or in one of its own."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook.cli.boundary import run_program

RUNBOOKS = {
    "ok.yaml": """\
runbook: v1
name: ok
summary: Three small steps.
steps:
  - {id: one, uses: command, with: {argv: [echo, hello], effect: reads}, rerun: safe}
  - {id: pause, uses: wait, with: {for: 100ms}}
  - {id: two, uses: command, with: {argv: [touch, there]}, rerun: safe}
""",
    "bad.yaml": """\
runbook: v1
name: bad
steps:
  - {id: one, uses: wait, with: {for: 0}}
  - id: two
    uses: command
    with: {argv: [sh, -c, "echo out of luck; exit 3"]}
    rerun: safe
  - {id: three, uses: wait, with: {for: 0}}
on_failure: {runbook: back.yaml, after: one, with: {}}
""",
    "back.yaml": """\
runbook: v1
name: back
for: bad.yaml
steps:
  - id: undo
    uses: command
    with: {argv: [test, -e, mended]}
    rerun: safe
    undoes: [two]
    guidance: touch mended, then resume.
""",
    "plain.yaml": """\
runbook: v1
name: plain
steps:
  - {id: one, uses: command, with: {argv: [test, -e, mended], effect: reads}, rerun: safe}
""",
    "sure.yaml": """\
runbook: v1
name: sure
steps:
  - {id: one, uses: command, with: {argv: [touch, there]}, rerun: safe}
  - {id: sure, uses: confirm, with: {message: "really?"}}
""",
    "deploy.yaml": """\
runbook: v1
name: deploy
steps:
  - {id: point, uses: wait, with: {for: 0}}
  - {id: change, uses: command, with: {argv: [touch, there]}, rerun: safe}
on_failure: {runbook: undo.yaml, after: point, with: {data: keep}}
""",
    "undo.yaml": """\
runbook: v1
name: undo
for: deploy.yaml
inputs:
  data: {type: choice, choices: [restore, keep], help: What becomes of the data.}
steps:
  - {id: back, uses: command, with: {argv: [rm, there]}, rerun: safe, undoes: [change]}
  - {id: data, uses: wait, with: {for: 0}, when: inputs.data == 'restore'}
""",
    "slow.yaml": """\
runbook: v1
name: slow
steps:
  - {id: one, uses: command, with: {argv: [touch, there]}, rerun: safe}
  - {id: pause, uses: wait, with: {for: 60s}}
""",
    "doubt.yaml": """\
runbook: v1
name: doubt
steps:
  - id: odd
    uses: command
    with: {argv: [sh, -c, "kill -9 $PPID; sleep 0.2; kill -9 0"], probe: [sh, -c, exit 7]}
""",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What the program answered."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)

    @property
    def last_line(self) -> str:
        """The last line on stdout."""
        return self.out.rstrip("\n").splitlines()[-1]


Cli = Callable[..., Said]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with runbooks in it; the state lies beside."""
    folder = tmp_path / "project" / "runbooks"
    folder.mkdir(parents=True)
    for name, text in RUNBOOKS.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("RUNBOOK_STATE_DIR", str(tmp_path / "state"))
    for name in ("CI", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["runbook"])
    return folder.parent


@pytest.fixture
def cli(project: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call the program in this process."""

    def call(*arguments: str) -> Said:
        status = run_program(arguments)
        captured = capsys.readouterr()
        return Said(status, captured.out, captured.err)

    return call


@pytest.fixture
def program_environment(project: Path) -> dict[str, str]:
    """The environment for a process of its own."""
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": str(root), "PYTHONWARNINGS": "default"}
