"""A test on the engine that fails is reported with what its containers printed."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]

FAILING = '''
def test_that_fails(make_stack):
    stack = make_stack("""
        services:
          web:
            image: runbook-test/python:1
            command: [sh, -c, "echo out of cheese >&2"]
    """)
    stack.compose("up")
    assert False
'''


def test_a_failure_is_told_with_the_containers_logs(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(FAILING)
    plugins = ["-p", "no:cacheprovider", "-p", "tests.conftest", "-p", "tests.real.conftest"]
    argv = [sys.executable, "-m", "pytest", *plugins, f"--rootdir={tmp_path}", str(tmp_path)]

    ended = subprocess.run(
        argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )

    assert "1 failed" in ended.stdout, ended.stdout + ended.stderr
    _, _, told = ended.stdout.partition("- Container ")
    assert "web-1" in told
    assert "out of cheese" in told
