"""The steps on a compose stack, on a real engine: brought up, stopped, built, run, and killed."""

import json
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import CommandFailed, StepError, Unfit
from runbook.kinds import Done, NotDone, Result
from runbook.steps import compose_build, compose_run, compose_stop, compose_up
from runbook.steps.compose_build import ComposeBuild
from runbook.steps.compose_run import ComposeRun
from runbook.steps.compose_stop import ComposeStop
from runbook.steps.compose_up import ComposeUp
from tests.real.conftest import MakeStack, Stack

pytestmark = [pytest.mark.real, pytest.mark.slow]

SLOW_ROUNDS = "interval: 300s, timeout: 5s, retries: 3"
STACK = f"""
    services:
      store:
        image: runbook-test/python:1
        command: [sh, -c, "sleep 0.5; touch /tmp/ready; exec sleep 600"]
        restart: unless-stopped
        healthcheck: {{test: [CMD, test, -e, /tmp/ready], {SLOW_ROUNDS}}}
      prepare:
        image: runbook-test/python:1
        command: [sh, -c, "echo prepared >> /shared/log"]
        volumes: ["shared:/shared"]
        depends_on: {{store: {{condition: service_healthy}}}}
      web:
        image: runbook-test/python:1
        command: [sleep, "600"]
        restart: unless-stopped
        environment: {{RELEASE: "one"}}
        volumes: ["shared:/shared"]
        depends_on:
          store: {{condition: service_healthy}}
          prepare: {{condition: service_completed_successfully}}
    volumes: {{shared: {{}}}}
"""


def run(kind: Any, spec: Any, stack: Stack, **fields: Any) -> Any:
    result = kind.STEP.run(spec, stack.context(**fields))
    assert isinstance(result, Result)
    return result


def up(stack: Stack, **fields: Any) -> Any:
    return run(compose_up, ComposeUp(stack=stack.resource, **fields), stack)


def prepared(stack: Stack) -> int:
    """How often the one-shot service has run."""
    words = ["exec", f"{stack.project}-web-1", "cat", "/shared/log"]
    return stack.docker(*words).split().count("prepared")


def test_everything_is_up_as_soon_as_it_is_ready_and_not_at_the_engines_next_round(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(STACK)
    began = time.monotonic()

    result = up(stack)

    assert time.monotonic() - began < 120  # the engine would not have looked once
    assert result.changed
    assert set(result.outputs.services) == {"store", "prepare", "web"}
    assert stack.is_running("web")
    assert prepared(stack) == 1


def test_what_is_up_already_is_left_alone_one_shots_too(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)
    first = up(stack)

    second = up(stack)

    assert not second.changed
    assert second.outputs == first.outputs
    assert prepared(stack) == 1


def test_only_what_has_changed_is_replaced(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)
    first = up(stack).outputs.services
    stack.write(STACK.replace('"one"', '"two"'))

    result = up(stack)

    assert result.changed
    assert result.outputs.services["store"] == first["store"]
    assert result.outputs.services["web"] != first["web"]


def test_a_service_that_dies_at_once_fails_with_what_it_printed(make_stack: MakeStack) -> None:
    dies = STACK.replace('[sleep, "600"]', '[sh, -c, "echo no database; exit 3"]')
    stack = make_stack(dies.replace("restart: unless-stopped\n        environment", "environment"))

    with pytest.raises(StepError) as caught:
        up(stack)

    assert "`web` does not come up: it has ended with exit code 3" in caught.value.message
    assert "no database" in caught.value.output_tail


ILL = """
    services:
      web: {image: "runbook-test/python:1", command: [sleep, "600"]}
      panel:
        image: runbook-test/python:1
        command: [sleep, "600"]
        healthcheck: {test: ["CMD", "false"], interval: 300s}
"""


def test_what_was_ill_before_in_the_same_way_is_told_and_does_not_count(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(ILL)
    stack.compose("up", "--detach")
    spec = ComposeUp(stack=stack.resource, ready_within=2)
    assert compose_up.STEP.baseline is not None
    baseline = compose_up.STEP.baseline(spec, stack.context())

    with pytest.raises(StepError, match="`panel` was not ready within"):
        run(compose_up, spec, stack)
    told = run(compose_up, spec, stack, baseline=baseline)

    assert list(baseline) == [f"service {stack.project}/panel"]
    assert told.outputs.unready == ["panel"]


def test_what_is_optional_is_started_and_not_waited_for(make_stack: MakeStack) -> None:
    stack = make_stack(ILL)
    began = time.monotonic()

    told = up(stack, ready_within=300, optional=["panel", "no such service"])

    assert told.outputs.unready == ["panel"]
    assert time.monotonic() - began < 200
    assert stack.is_running("panel")


def test_a_service_that_is_stopped_stays_so_and_is_given_its_policy_back_by_up(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(STACK)
    up(stack)

    result = run(compose_stop, ComposeStop(stack=stack.resource, keep=["store"]), stack)
    stopped = stack.containers()["web"]
    again = up(stack)

    assert result.changed
    assert result.outputs.stopped == ["web"]
    assert not stopped["State"]["Running"]
    assert stopped["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert again.changed
    assert stack.containers()["web"]["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert prepared(stack) == 1


def test_who_cannot_hear_the_signal_is_not_waited_for(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)
    up(stack)
    began = time.monotonic()

    run(compose_stop, ComposeStop(stack=stack.resource, grace=300), stack)

    assert time.monotonic() - began < 120
    assert not any(each["State"]["Running"] for each in stack.containers().values())


def test_who_listens_is_given_its_grace(make_stack: MakeStack) -> None:
    script = "trap 'echo bye > /shared/last; exit 0' TERM; while :; do sleep 0.1; done"
    text = STACK.replace('[sleep, "600"]', json.dumps(["sh", "-c", script.replace("$", "$$")]))
    stack = make_stack(text)
    up(stack)

    run(compose_stop, ComposeStop(stack=stack.resource, services=["web"]), stack)

    stack.docker("start", f"{stack.project}-web-1")  # Compose would wait for the engine's round
    assert stack.docker("exec", f"{stack.project}-web-1", "cat", "/shared/last") == "bye\n"


def test_a_stack_is_stopped_whatever_its_compose_file_says_now(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)
    up(stack)
    stack.write("services: [this, is, broken")

    result = run(compose_stop, ComposeStop(stack=stack.resource), stack)

    assert result.outputs.stopped == ["store", "web"]


def test_a_compose_file_that_compose_refuses_is_named_before_anything_changes(
    make_stack: MakeStack,
) -> None:
    stack = make_stack("services: {web: {image: [no]}}")
    spec = ComposeUp(stack=stack.resource)
    assert compose_up.STEP.preflight is not None

    missing = compose_up.STEP.preflight(spec, stack.context())

    assert "compose.yaml" in missing[0]
    with pytest.raises(Unfit):
        up(stack)


def test_the_odd_name_that_a_killed_compose_leaves_is_mended(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)
    up(stack)
    name = f"{stack.project}-web-1"
    stack.docker("rename", name, f"0123456789ab_{name}")

    up(stack)

    assert stack.containers()["web"]["Name"] == f"/{name}"


# --- building -------------------------------------------------------------------------------

BUILT = """
    services:
      web:
        build: .
        command: [sleep, "600"]
"""


def built(make_stack: MakeStack, content: str) -> Stack:
    stack = make_stack(BUILT)
    (stack.root / "Dockerfile").write_text("FROM runbook-test/python:1\nCOPY release /release\n")
    (stack.root / "release").write_text(content)
    return stack


def test_a_build_says_whether_it_made_another_image(make_stack: MakeStack) -> None:
    stack = built(make_stack, "one")

    first = run(compose_build, ComposeBuild(stack=stack.resource), stack)
    same = run(compose_build, ComposeBuild(stack=stack.resource), stack)
    (stack.root / "release").write_text("two")
    other = run(compose_build, ComposeBuild(stack=stack.resource), stack)

    stack.docker("image", "rm", "-f", f"{stack.project}-web")
    assert (first.changed, same.changed, other.changed) == (True, False, True)
    assert first.outputs == same.outputs != other.outputs


def test_a_build_that_fails_says_why(make_stack: MakeStack) -> None:
    stack = built(make_stack, "one")
    (stack.root / "release").unlink()

    with pytest.raises(CommandFailed) as caught:
        run(compose_build, ComposeBuild(stack=stack.resource), stack)

    assert "release" in "\n".join(caught.value.output_tail)
    assert not caught.value.changed


def test_an_image_that_cannot_be_had_fails_the_build_and_what_runs_goes_on(
    make_stack: MakeStack,
) -> None:
    stack = built(make_stack, "one")
    (stack.root / "Dockerfile").write_text("this is never read")
    stack.write(STACK)
    stack.compose("up", "--detach", "store")
    stack.write(f"{BUILT}      store: {{image: '127.0.0.1:9/not-here:1'}}\n")

    with pytest.raises(CommandFailed) as caught:
        run(compose_build, ComposeBuild(stack=stack.resource), stack)

    assert "no image `127.0.0.1:9/not-here:1`, which service `store` runs" in caught.value.message
    assert caught.value.output_tail
    assert not caught.value.changed
    assert stack.is_running("store")


def test_an_image_that_is_here_or_is_built_by_another_service_is_not_fetched(
    make_stack: MakeStack,
) -> None:
    stack = built(make_stack, "one")
    image = f"{stack.project}-shared"
    shared = BUILT.replace("build: .", f"build: .\n        image: {image}")
    also = f"      also: {{image: {image}}}\n      store: {{image: 'runbook-test/python:1'}}\n"
    stack.write(f"{shared}{also}")

    result = run(compose_build, ComposeBuild(stack=stack.resource), stack)

    stack.docker("image", "rm", "-f", image)
    assert result.outputs.fetched == []
    assert list(result.outputs.images) == ["web"]


# --- one-off commands -----------------------------------------------------------------------


def one_off(stack: Stack, script: str, **fields: Any) -> ComposeRun:
    return ComposeRun(stack=stack.resource, service="web", command=["sh", "-c", script], **fields)


def test_a_command_runs_in_a_container_of_its_own_and_is_logged(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)
    up(stack)
    context = stack.context(step_id="migrate")
    spec = one_off(stack, "echo $WHO >> /shared/log; echo done", environment={"WHO": "me"})

    result = compose_run.STEP.run(spec, context)

    assert isinstance(result, Result)
    assert result.changed
    assert "done" in "\n".join(context.logged)
    assert "me" in stack.docker("exec", f"{stack.project}-web-1", "cat", "/shared/log")


def test_a_command_that_fails_says_with_what(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)

    with pytest.raises(CommandFailed) as caught:
        run(compose_run, one_off(stack, "echo broken; exit 4"), stack)

    assert "exit code 4" in caught.value.message
    assert caught.value.output_tail == ("broken",)


def test_a_command_that_outlived_us_is_adopted_and_never_run_twice(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)
    up(stack)
    spec = one_off(stack, "sleep 2; echo ran >> /shared/log")
    context = stack.context(step_id="migrate")
    name = f"{stack.project}-web-rb-{context.operation}-1"
    stack.compose("run", "--detach", "--no-deps", "--name", name, "web", *spec.command)

    result = compose_run.STEP.run(spec, context)
    found = compose_run.STEP.probe and compose_run.STEP.probe(spec, context)

    log = stack.docker("exec", f"{stack.project}-web-1", "cat", "/shared/log")
    assert log.split().count("ran") == 1
    assert isinstance(result, Result)
    assert isinstance(found, Done)


def test_a_command_that_was_never_started_is_not_done(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)

    found = compose_run.STEP.probe and compose_run.STEP.probe(
        one_off(stack, "true"), stack.context(step_id="migrate")
    )

    assert isinstance(found, NotDone)


def test_what_it_left_behind_is_removed_by_the_next_one(make_stack: MakeStack) -> None:
    stack = make_stack(STACK)
    run(compose_run, one_off(stack, "true"), stack, step_id="one")

    run(compose_run, one_off(stack, "true"), stack, step_id="two")

    one_offs = [name for name in stack.containers() if "-rb-" in name]
    assert len(one_offs) == 1


def test_resources_are_found_by_the_files_own_folder(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(
        textwrap.dedent("""
        services:
          web: {image: "runbook-test/python:1", command: [sleep, "600"], env_file: [web.env]}
        """)
    )
    (stack.root / "web.env").write_text("A=b\n")

    up(stack)

    assert "A=b" in stack.containers()["web"]["Config"]["Env"]
