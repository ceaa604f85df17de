"""Services that a compose file does not name: a bad release's, and those that were there before."""

from typing import Any

import pytest

from runbook.core.plan import JsonObject
from runbook.kinds import CompletedStep, Result, UndoneRun
from runbook.steps import compose_stop, compose_up, seal_restore_point
from runbook.steps.compose_stop import ComposeStop
from runbook.steps.compose_up import ComposeUp
from runbook.steps.seal_restore_point import SealRestorePoint
from tests.real.conftest import MakeStack, Stack

pytestmark = [pytest.mark.real, pytest.mark.slow]

SERVICE = """
      {name}:
        image: runbook-test/python:1
        command: [sleep, "600"]
        restart: unless-stopped
        {more}
"""


def services(*names: str, **more: str) -> str:
    texts = [SERVICE.format(name=name, more=more.get(name, "")) for name in names]
    return "    services:" + "".join(texts)


def did(stack: Stack, kind: Any, spec: Any, completed: list[CompletedStep], **fields: Any) -> Any:
    """Run a step, note it as completed; its outputs."""
    name = kind.__name__.rpartition(".")[2]
    ended = kind.STEP.run(spec, stack.context(step_id=name, completed=[*completed], **fields))
    assert isinstance(ended, Result)
    outputs: JsonObject = ended.outputs.model_dump(mode="json")
    completed.append(CompletedStep(id=name, kind=name, outputs=outputs, changed=ended.changed))
    return ended.outputs


@pytest.mark.parametrize("stops_first", [True, False])
def test_what_a_bad_release_has_added_is_stopped_and_what_ran_before_runs(
    make_stack: MakeStack,
    stops_first: bool,
) -> None:
    stack = make_stack(services("web", "old"))
    stack.compose("up", "--detach")
    stack.write(services("web"))
    running: JsonObject = {"running": ["stack/old", "stack/web"], "served": True}
    deploy = [CompletedStep(id="preflight", kind="preflight", outputs=running, changed=False)]
    point = did(stack, seal_restore_point, SealRestorePoint(), deploy)
    stack.write(services("web", "added"))
    released = did(stack, compose_up, ComposeUp(stack=stack.resource), deploy)
    stack.write(services("web"))
    undone = UndoneRun(run_id="run-1", completed=deploy, failed_step=None, failure=None)
    loaded: JsonObject = {"id": point.id}
    back = [CompletedStep(id="point", kind="load_restore_point", outputs=loaded, changed=False)]
    if stops_first:
        did(stack, compose_stop, ComposeStop(stack=stack.resource), back, undone=undone)

    returned = did(stack, compose_up, ComposeUp(stack=stack.resource), back, undone=undone)

    assert released.orphans == returned.orphans == [f"{stack.project}-old-1"]
    assert [stack.is_running(name) for name in ("web", "old", "added")] == [True, True, False]
    policies = {
        name: each["HostConfig"]["RestartPolicy"]["Name"]
        for name, each in stack.containers().items()
    }
    assert policies == {"web": "unless-stopped", "old": "unless-stopped", "added": "no"}


def test_a_service_of_a_profile_that_is_off_is_no_orphan(make_stack: MakeStack) -> None:
    stack = make_stack(services("web", "debug", debug="profiles: [debug]"))
    stack.compose("--profile", "debug", "up", "--detach")

    told = did(stack, compose_up, ComposeUp(stack=stack.resource), [])

    assert told.orphans == []
