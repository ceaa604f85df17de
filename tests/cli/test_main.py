"""The root command: cheap to start, and helpful to those who mistype."""

import resource
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from runbook.cli.main import COMMANDS

HEAVY = {
    *("pydantic", "yaml", "jsonschema", "jinja2", "rich", "sqlite3", "asyncio"),
    *("importlib.metadata", "docker", "psycopg", "minio", "git", "httpx"),
}
BUDGET_S = 0.075
SLACK = 3
"""The machine may be busy: the budget itself is measured in `benchmarks/`."""


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_starting_up_imports_nothing_heavy(
    argument: str, program_environment: Mapping[str, str]
) -> None:
    code = (
        "import sys; from runbook.cli.boundary import run_program;"
        f"run_program(['{argument}']); print('\\n'.join(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=program_environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert HEAVY.isdisjoint(done.stderr.split())


def test_the_version_costs_little(program_environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "runbook", "--version"]
    costs = []

    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=program_environment, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert min(costs) < BUDGET_S * SLACK


def test_help_lists_every_command_with_a_line(cli: Any) -> None:
    said = cli("--help")

    assert said.status == 0
    assert all(f"  {name} " in said.out for name in COMMANDS)


EXPLAINED = [*(set(COMMANDS) - {"demo", "secrets"}), "secrets check"]


@pytest.mark.parametrize("name", sorted(EXPLAINED))
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_explains_itself(name: str, flag: str, cli: Any) -> None:
    said = cli(*name.split(), flag)

    assert said.status == 0
    assert f"runbook {name}" in said.out
    assert "--state-dir" in said.out


def test_the_demo_explains_itself_as_the_others_do(cli: Any) -> None:
    assert "--break" in cli("demo", "-h").out


def test_a_mistyped_command_is_answered_with_the_nearest(cli: Any) -> None:
    said = cli("statsu")

    assert said.status == 2
    assert "Did you mean `status`?" in said.err


def test_a_mistyped_option_is_answered_with_the_nearest(cli: Any) -> None:
    said = cli("history", "--limt", "3")

    assert said.status == 2
    assert "--limit" in said.err


def test_without_a_command_the_help_is_shown(cli: Any) -> None:
    said = cli()

    assert said.status == 2
    assert "Usage: runbook" in said.out


def test_the_state_directory_is_named_before_or_after_the_command(cli: Any, tmp_path: Any) -> None:
    cli("--state-dir", str(tmp_path / "other"), "run", "runbooks/ok.yaml")

    said = cli("history", "--state-dir", str(tmp_path / "other"))

    assert "ok-" in said.out
