"""What a run would do, as text: the runbooks that are shipped, with what a person would type."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runbook.cli.plan import view_plan
from runbook.language.compile import compile_runbook
from runbook.language.inputs import read_inputs
from runbook.registry import discover
from runbook.report.plan import plan_text

ROOT = Path(__file__).parents[2]


def test_a_plan_tells_each_step_and_the_rollback_that_a_failure_starts(
    golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    registry = discover()
    path = Path("runbooks", "deploy.yaml")
    plan = compile_runbook(path, registry=registry, read=lambda each: read_inputs(each, {}, {}))

    text = plan_text(view_plan(plan, registry), has_commands=True, width=100)

    golden("deploy.plan", text.replace(str(ROOT), "/srv/app"))
