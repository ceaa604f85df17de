"""The small words of the language in a run: set, assert, fail."""

import pytest

from tests.scenarios.conftest import Desk

pytestmark = pytest.mark.slow


def test_a_value_outlives_what_it_was_computed_from(desk: Desk) -> None:
    desk.write(
        "deploy.yaml",
        "runbook: v1\nname: deploy\nsteps:\n"
        "  - {id: first, uses: command, rerun: safe, with: {argv: [cat, source], output: text}}\n"
        "  - {id: kept, uses: set, with: {value: '<${{ steps.first.outputs.stdout }}>'}}\n"
        "  - {id: last, uses: command, rerun: safe,"
        " with: {script: 'test -e gate && echo \"$V\" >> traces',"
        " environment: {V: '${{ steps.kept.outputs.value }}'}}}\n",
    )
    desk.write("source", "before")

    failed = desk.runbook("run", "deploy.yaml")
    desk.write("source", "after")
    desk.open_gate()
    resumed = desk.runbook("resume")

    assert (failed.status, resumed.status) == (1, 0), failed.text + resumed.text
    assert desk.traces == ["<before>"]


def test_fail_is_passed_by_where_its_condition_does_not_hold(desk: Desk) -> None:
    desk.write(
        "deploy.yaml",
        "runbook: v1\nname: deploy\ninputs: {open: {type: integer}}\nsteps:\n"
        "  - {id: stop, uses: fail, with: {message: 'still open: ${{ inputs.open }}'},"
        " when: inputs.open > 50}\n"
        "  - {id: go, uses: command, rerun: safe, with: {script: 'echo gone >> traces'}}\n",
    )

    many = desk.runbook("run", "deploy.yaml", "--set", "open=51")
    few = desk.runbook("run", "deploy.yaml", "--set", "open=50")

    assert many.status == 1
    assert "still open: 51" in many.text
    assert few.status == 0, few.text
    assert desk.traces == ["gone"]
