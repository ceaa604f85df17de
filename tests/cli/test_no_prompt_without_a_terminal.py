"""Where no terminal is, no command ever waits for a person."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

COMMANDS = {
    "run": (["run", "runbooks/sure.yaml"], 2),
    "resume": (["resume"], 4),
    "rollback": (["rollback"], 4),
    "abort": (["abort", "back", "--reason", "x"], 0),
    "validate": (["validate"], 0),
    "status": (["status"], 0),
    "history": (["history"], 0),
    "logs": (["logs", "bad"], 0),
    "schema": (["schema"], 0),
    "steps": (["steps"], 0),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_with_closed_stdin_it_ends_by_itself(
    name: str, cli: Any, program_environment: Mapping[str, str]
) -> None:
    arguments, expected = COMMANDS[name]
    if name != "run":
        cli("run", "runbooks/bad.yaml")

    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "runbook", *arguments],
        env=program_environment,
        capture_output=True,
        text=True,
        timeout=60,  # a prompt would wait for ever
        check=False,
    )

    assert done.returncode == expected, done.stderr
    assert "Traceback" not in done.stderr
