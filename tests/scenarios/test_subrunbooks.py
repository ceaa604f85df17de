"""A runbook that is used as a step, under kill -9 and resume."""

import pytest

from tests.scenarios.conftest import Desk

pytestmark = pytest.mark.slow

PART = """\
runbook: v1
name: part
inputs: {name: {type: string}}
steps:
  - id: say
    uses: command
    rerun: safe
    with:
      script: |
        [ "$NAME" != second ] || while [ ! -e gate ]; do sleep 0.02; done
        echo "$NAME" >> traces
      environment: {NAME: "${{ inputs.name }}"}
  - {id: kept, uses: set, with: {value: "${{ inputs.name }}:${{ steps.say.outputs.exit_code }}"}}
outputs: {said: "${{ steps.kept.outputs.value }}"}
"""
WHOLE = """\
runbook: v1
name: whole
inputs: {who: {type: string, default: first}}
steps:
  - {id: one, uses: runbook, with: {runbook: part.yaml, inputs: {name: "${{ inputs.who }}"}}}
  - {id: two, uses: runbook, with: {runbook: part.yaml, inputs: {name: second}}}
  - id: end
    uses: command
    rerun: safe
    with:
      script: 'echo "$A $B" | tr " " "\\n" >> traces'
      environment: {A: "${{ steps.one.outputs.said }}", B: "${{ steps.two.outputs.said }}"}
"""


def test_a_kill_within_it_is_resumed_within_it(desk: Desk) -> None:
    desk.write("part.yaml", PART)
    desk.write("whole.yaml", WHOLE)

    process = desk.start("run", "whole.yaml")
    desk.eventually(lambda: desk.traces == ["first"], "the first part")
    desk.kill(process)
    desk.write("part.yaml", "changed meanwhile")
    desk.open_gate()
    resumed = desk.runbook("resume")

    assert resumed.status == 0, resumed.text
    assert "part.yaml" in resumed.text
    assert desk.traces == ["first", "second", "first:0", "second:0"]
