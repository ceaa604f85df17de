"""A loop under kill -9 and resume: each item once, in order, and the rest afterwards."""

import pytest

from tests.scenarios.conftest import Desk

pytestmark = pytest.mark.slow

RUNBOOK = """\
runbook: v1
name: deploy
steps:
  - for_each:
      in: [one, two, three]
      as: name
      max_parallel: LANES
      steps:
        - id: say
          uses: command
          rerun: safe
          with:
            script: |
              [ "$NAME" != two ] || while [ ! -e gate ]; do sleep 0.02; done
              echo "$NAME" >> traces
            environment: {NAME: "${{ name }}"}
        - {id: kept, uses: set, with: {value: "${{ name }}:${{ steps.say.outputs.exit_code }}"}}
  - id: end
    uses: command
    rerun: safe
    with: {script: 'echo "$K" >> traces', environment: {K: "${{ steps.kept_three.outputs.value }}"}}
"""


@pytest.mark.parametrize(("lanes", "before"), [(1, ["one"]), (2, ["one", "three"])])
def test_a_killed_loop_goes_on_where_it_was(desk: Desk, lanes: int, before: list[str]) -> None:
    desk.write("deploy.yaml", RUNBOOK.replace("LANES", str(lanes)))

    process = desk.start("run", "deploy.yaml")
    desk.eventually(lambda: desk.traces == before, f"traces {before}")
    desk.kill(process)
    desk.open_gate()
    resumed = desk.runbook("resume")

    assert resumed.status == 0, resumed.text
    assert sorted(desk.traces[:3]) == ["one", "three", "two"]
    assert desk.traces[3:] == ["three:0"]
