"""Compose stacks that are not the plain case: scaled, signal-blocking, stopped by hand, killed."""

import json
import time
from typing import Any

import pytest

from runbook.errors import CommandFailed, EngineGone, StepError, TimedOut
from runbook.kinds import Done, HalfDone, NotDone, Result
from runbook.resources import Sqlite
from runbook.secret import Secret
from runbook.steps import compose_down, compose_run, compose_stop, compose_up
from runbook.steps.compose_down import ComposeDown
from runbook.steps.compose_run import ComposeRun
from runbook.steps.compose_stop import ComposeStop
from runbook.steps.compose_up import ComposeUp
from runbook.tools.process import Command
from tests.real.conftest import MakeStack, Stack
from tests.real.relay import Relay

pytestmark = [pytest.mark.real, pytest.mark.slow]

STACK = """
    services:
      web:
        image: runbook-test/python:1
        command: [sleep, "600"]
        stop_grace_period: 0s
        volumes: ["shared:/shared"]
        {more}
    volumes: {{shared: {{}}}}
"""


def stack_of(make_stack: MakeStack, more: str = "restart: unless-stopped") -> Stack:
    return make_stack(STACK.format(more=more))


def up(stack: Stack, context: Any = None, **fields: Any) -> Any:
    spec = ComposeUp(stack=stack.resource, **fields)
    result = compose_up.STEP.run(spec, context or stack.context())
    assert isinstance(result, Result)
    return result


def stop(stack: Stack, **fields: Any) -> Any:
    result = compose_stop.STEP.run(ComposeStop(stack=stack.resource, **fields), stack.context())
    assert isinstance(result, Result)
    return result


def policy_of(stack: Stack, service: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = stack.containers()[service]["HostConfig"]["RestartPolicy"]
    return found


def ids_of(stack: Stack) -> list[str]:
    label = f"label=com.docker.compose.project={stack.project}"
    return stack.docker("ps", "--quiet", "--filter", label).split()


# --- how many, and when they start again ----------------------------------------------------


def test_as_many_containers_run_as_the_file_says_more_or_fewer_or_none(
    make_stack: MakeStack,
) -> None:
    stack = stack_of(make_stack, "scale: 3")
    counts = []
    for replicas in (3, 1, 2, 0):
        stack.write(STACK.format(more=f"scale: {replicas}"))
        outputs = up(stack).outputs
        counts.append((len(outputs.services["web"]), len(ids_of(stack))))

    again = up(stack)

    assert counts == [(3, 3), (1, 1), (2, 2), (0, 0)]
    assert not again.changed


def test_a_policy_that_stands_under_deploy_is_left_as_compose_set_it(
    make_stack: MakeStack,
) -> None:
    more = "deploy: {restart_policy: {condition: on-failure, max_attempts: 4}}"
    stack = stack_of(make_stack, more)
    stack.compose("up", "--detach")
    by_compose = policy_of(stack)

    up(stack)
    after_up = policy_of(stack)
    stop(stack)
    up(stack)

    assert by_compose == {"Name": "on-failure", "MaximumRetryCount": 4}
    assert after_up == by_compose
    assert policy_of(stack) == by_compose


def test_to_give_a_policy_back_is_a_change(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    up(stack)
    stack.docker("update", "--restart", "no", f"{stack.project}-web-1")

    result = up(stack)

    assert result.changed
    assert policy_of(stack)["Name"] == "unless-stopped"


def test_containers_that_end_again_and_again_are_stopped(make_stack: MakeStack) -> None:
    crashing = STACK.replace('[sleep, "600"]', '[sh, -c, "exit 7"]')
    stack = make_stack(
        crashing.format(more="scale: 12\n        restart: always\n        network_mode: none")
    )
    stack.compose("up", "--detach")

    stop(stack)

    names = stack.docker("ps", "--all", "--quiet", "--filter", f"name={stack.project}").split()
    looked_at = json.loads(stack.docker("inspect", *names))
    assert len(looked_at) == 12
    assert {each["State"]["Status"] for each in looked_at} == {"exited"}
    assert {each["HostConfig"]["RestartPolicy"]["Name"] for each in looked_at} == {"no"}


def test_services_of_a_profile_come_up_where_it_is_on(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack, "profiles: [extra]")
    without = stack.resource
    with_it = without.model_copy(update={"profiles": ["extra"]})

    with pytest.raises(StepError) as caught:
        compose_up.STEP.run(ComposeUp(stack=without, services=["web"]), stack.context())
    result = compose_up.STEP.run(ComposeUp(stack=with_it), stack.context())

    assert "has no service `web`" in caught.value.message
    assert isinstance(result, Result)
    assert stack.is_running("web")


# --- what never comes up --------------------------------------------------------------------


def test_a_container_that_may_not_be_tried_again_is_not_waited_for(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack, 'restart: "on-failure:1"')
    stack.write(
        STACK.format(more='restart: "on-failure:1"').replace(
            '[sleep, "600"]', '[sh, -c, "echo no luck; exit 3"]'
        )
    )
    began = time.monotonic()

    with pytest.raises(StepError) as caught:
        up(stack, ready_within=300.0)

    assert time.monotonic() - began < 120
    assert "exit code 3" in caught.value.message
    assert "no luck" in caught.value.output_tail


def test_a_one_shot_service_that_fails_keeps_back_who_needs_it_and_is_tried_again(
    make_stack: MakeStack,
) -> None:
    text = """
        services:
          prepare:
            image: runbook-test/python:1
            command: [sh, -c, "echo tried >> /shared/log; test -e /shared/good"]
            volumes: ["shared:/shared"]
          web:
            image: runbook-test/python:1
            command: [sleep, "600"]
            volumes: ["shared:/shared"]
            depends_on: {prepare: {condition: service_completed_successfully}}
        volumes: {shared: {}}
    """
    stack = make_stack(text)

    with pytest.raises(StepError) as caught:
        up(stack)
    kept_back = not stack.is_running("web")
    stack.compose("run", "--rm", "--no-deps", "web", "touch", "/shared/good")
    up(stack)

    assert "`prepare` does not come up: it has ended with exit code 1" in caught.value.message
    assert kept_back
    log = stack.docker("exec", f"{stack.project}-web-1", "cat", "/shared/log")
    assert log.split() == ["tried", "tried"]


def test_all_that_is_waited_for_shares_the_time_there_is(make_stack: MakeStack) -> None:
    never = "healthcheck: {test: [CMD, test, -e, /tmp/ready], interval: 300s}"
    text = f"""
        services:
          first:
            image: runbook-test/python:1
            command: [sh, -c, "sleep 4; touch /tmp/ready; exec sleep 600"]
            {never}
          second:
            image: runbook-test/python:1
            command: [sh, -c, "sleep 4; touch /tmp/ready; exec sleep 600"]
            {never}
            depends_on: {{first: {{condition: service_healthy}}}}
    """
    stack = make_stack(text)

    with pytest.raises(StepError) as caught:
        up(stack, ready_within=6.0)

    assert "`second` was not ready within 6.0s" in caught.value.message


def test_an_optional_service_whose_log_nobody_keeps_is_passed_over(make_stack: MakeStack) -> None:
    text = STACK.format(more="logging: {driver: none}")
    stack = make_stack(text.replace('[sleep, "600"]', '[sh, -c, "exit 3"]'))

    result = up(stack, optional=["web"])

    assert result.outputs.unready == ["web"]


# --- what people do meanwhile ---------------------------------------------------------------


def test_a_container_that_is_removed_by_hand_is_made_again(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    up(stack)
    stack.docker("rm", "-f", f"{stack.project}-web-1")

    result = up(stack)

    assert result.changed
    assert stack.is_running("web")


def test_a_stack_whose_network_was_removed_while_it_was_stopped_comes_up(
    make_stack: MakeStack,
) -> None:
    web = 'image: "runbook-test/python:1", command: [sleep, "600"], stop_grace_period: 0s'
    text = f"""
        services:
          web: {{{web}}}
          guest: {{{web}, network_mode: "service:web"}}
    """
    stack = make_stack(text)
    up(stack)
    stop(stack)
    stack.docker("network", "rm", f"{stack.project}_default")

    result = up(stack)
    again = up(stack)

    assert result.changed
    assert stack.is_running("web")
    assert stack.is_running("guest")
    assert not again.changed


def test_a_container_that_is_removed_while_it_is_waited_for_fails_with_its_name(
    make_stack: MakeStack,
) -> None:
    stack = stack_of(make_stack, "healthcheck: {test: [CMD, 'false'], interval: 300s}")
    context = stack.context()

    def show(line: str) -> None:
        if line.startswith("waiting"):
            stack.docker("rm", "-f", f"{stack.project}-web-1")

    context.show = show

    with pytest.raises(StepError) as caught:
        up(stack, context)

    assert "service `web` has no container any more" in caught.value.message


def test_what_was_never_started_is_not_said_to_be_stopped(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    stack.compose("create")

    result = stop(stack)

    assert result.outputs.stopped == []


BLOCKS = [
    *("python3", "-c"),
    """if True:
    import pathlib, signal, time
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    pathlib.Path("/shared/up").touch()
    signal.sigwait([signal.SIGTERM])
    time.sleep(2)""",
]
TRAPS = [
    *("sh", "-c"),
    "trap 'sleep 2; exit 0' TERM; touch /shared/up; while :; do sleep 0.1; done",
]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        pytest.param(TRAPS, "init: true", id="an init"),
        pytest.param(BLOCKS, "init: false", id="sigwait"),
        pytest.param(TRAPS, "init: false", id="a handler"),
    ],
)
def test_who_hears_the_stop_signal_in_any_way_is_given_its_grace(
    make_stack: MakeStack, command: list[str], more: str
) -> None:
    health = "healthcheck: {test: [CMD, test, -e, /shared/up], interval: 300s}"
    text = STACK.format(more=f"{health}\n        {more}")
    stack = make_stack(text.replace('[sleep, "600"]', json.dumps(command)))
    up(stack)

    stop(stack, grace=60.0)

    assert stack.containers()["web"]["State"]["ExitCode"] == 0


def test_a_stack_is_taken_down_with_a_container_that_removes_itself(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    up(stack)
    stack.compose("run", "--detach", "--rm", "--no-deps", "web", "sleep", "600")

    compose_down.STEP.run(ComposeDown(stack=stack.resource), stack.context())

    assert stack.containers() == {}


def test_a_container_that_is_started_again_while_it_is_taken_down_is_stopped_once_more(
    make_stack: MakeStack, relay: Relay
) -> None:
    stack = stack_of(make_stack)
    name = f"{stack.project}-web-1"
    stack.create(name, "exec sleep 600", "--stop-timeout", "0")
    starts: list[bytes] = []

    def start_again(told: bytes) -> bool:
        if told.startswith(b"DELETE") and not starts:
            starts.append(told)
            stack.docker("start", name)
        return b"/wait" in told

    relay.refuses = start_again

    compose_down.STEP.run(ComposeDown(stack=stack.resource), stack.context())

    assert starts
    assert stack.containers() == {}


def test_a_network_that_a_guest_is_about_to_leave_is_removed(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    network = stack.create_network()
    image = "runbook-test/python:1"
    guest = stack.docker("run", "--detach", "--network", network, image, "sleep", "600").strip()
    context = stack.context()
    context.sleep = lambda _: stack.docker("rm", "-f", guest)

    try:
        result = compose_down.STEP.run(ComposeDown(stack=stack.resource), context)
    finally:
        stack.docker("rm", "-f", guest)

    assert isinstance(result, Result)
    assert result.outputs.networks == [network]
    assert network not in stack.docker("network", "ls")


def test_a_network_that_somebody_removes_meanwhile_is_removed(
    make_stack: MakeStack, relay: Relay
) -> None:
    stack = stack_of(make_stack)
    network = stack.create_network()
    relay.refuses = lambda told: (
        told.startswith(b"DELETE") and stack.docker("network", "rm", network) == ""
    )

    result = compose_down.STEP.run(ComposeDown(stack=stack.resource), stack.context())

    assert isinstance(result, Result)
    assert result.outputs.networks == [network]


# --- killed on the way ----------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill -9: nothing of ours catches it."""


def test_an_attempt_that_was_killed_after_all_was_up_has_changed_something(
    make_stack: MakeStack,
) -> None:
    stack = stack_of(make_stack)
    context = stack.context()

    def die(line: str) -> None:
        if line.startswith("waiting"):
            raise Killed

    context.show = die
    with pytest.raises(Killed):
        up(stack, context)

    result = up(stack, stack.context(progress=context.progress))

    assert result.changed


def test_a_stack_that_was_all_down_when_we_were_killed_was_taken_down_by_us(
    make_stack: MakeStack,
) -> None:
    stack = stack_of(make_stack)
    up(stack)
    context = stack.context()

    def die(text: str) -> None:
        if text.startswith("removed network"):
            raise Killed

    context.log = die
    spec = ComposeDown(stack=stack.resource)
    with pytest.raises(Killed):
        compose_down.STEP.run(spec, context)

    result = compose_down.STEP.run(spec, stack.context(progress=context.progress))

    assert isinstance(result, Result)
    assert result.changed
    assert result.outputs.containers == [f"{stack.project}-web-1"]


# --- one-off commands -----------------------------------------------------------------------


def one_off(stack: Stack, script: str) -> ComposeRun:
    return ComposeRun(stack=stack.resource, service="web", command=["sh", "-c", script])


def name_for(stack: Stack, context: Any) -> str:
    return f"{stack.project}-web-rb-{context.operation}-{context.attempt}"


def test_a_container_that_was_created_and_not_started_is_started(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate", timeout_s=60.0)
    stack.create(name_for(stack, context), "echo ran")

    found = compose_run.STEP.probe and compose_run.STEP.probe(one_off(stack, "echo ran"), context)
    result = compose_run.STEP.run(one_off(stack, "echo ran"), context)

    assert isinstance(found, NotDone)
    assert isinstance(result, Result)
    assert "ran" in "\n".join(context.logged)


def test_a_command_that_is_given_up_ends_in_its_own_time(
    make_stack: MakeStack, relay: Relay
) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    name = name_for(stack, context)
    script = "trap 'exit 0' TERM; echo began; while :; do sleep 0.1; done"
    stack.create(name, script, "--stop-timeout", "100")
    stops: list[bytes] = []

    def give_up() -> None:
        if "began" in context.logged:
            raise TimedOut("not done in time")

    def watch(told: bytes) -> bool:
        stops.extend(line for line in told.splitlines()[:1] if b"/stop" in line)
        return False

    context.on_check, relay.refuses = give_up, watch

    with pytest.raises(TimedOut):
        compose_run.STEP.run(one_off(stack, ""), context)

    assert not stack.containers()[name]["State"]["Running"]
    assert len(stops) == 1
    assert b"t=100" in stops[0]


def test_a_command_that_failed_may_have_done_half_of_it(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    spec = one_off(stack, "exit 3")
    with pytest.raises(StepError):
        compose_run.STEP.run(spec, context)

    found = compose_run.STEP.probe and compose_run.STEP.probe(spec, context)

    assert isinstance(found, HalfDone)


def test_images_are_not_pulled_for_a_command(make_stack: MakeStack) -> None:
    stack = make_stack("services: {web: {image: 'runbook-test/not-here:1'}}")

    with pytest.raises(StepError) as caught:
        compose_run.STEP.run(one_off(stack, "true"), stack.context(step_id="migrate"))

    assert "`runbook-test/not-here:1`" in caught.value.message
    assert not caught.value.changed


def test_secrets_reach_a_command_and_no_argument_list(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    fields = {"service": "web", "command": ["sh", "-c", "echo $PLAIN-$HIDDEN"]}
    spec = ComposeRun.model_validate(
        {"stack": "stack", **fields, "environment": {"PLAIN": "a", "HIDDEN": Secret("b")}},
        context={"resources": {"stack": stack.resource}},
    )
    commands: list[Command] = []
    run = context.run

    def watched(command: Command) -> Any:
        commands.append(command)
        return run(command)

    context.run = watched

    compose_run.STEP.run(spec, context)

    assert "a-b" in "\n".join(context.logged)
    assert "HIDDEN" in commands[0].argv
    assert not any(word.startswith("HIDDEN=") for word in commands[0].argv)


def test_a_command_whose_container_was_removed_by_hand_may_have_done_anything(
    make_stack: MakeStack,
) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    run = context.run

    def run_and_remove(command: Command) -> Any:
        ended = run(command)
        stack.docker("rm", "-f", name_for(stack, context))
        return ended

    context.run = run_and_remove

    with pytest.raises(StepError) as caught:
        compose_run.STEP.run(one_off(stack, "true"), context)

    assert "is gone" in caught.value.message
    assert caught.value.changed


def test_a_command_that_ended_well_is_done_although_the_stack_is_gone(
    make_stack: MakeStack,
) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    spec = one_off(stack, "true")
    compose_run.STEP.run(spec, context)
    stack.write("services: [broken")

    found = compose_run.STEP.probe and compose_run.STEP.probe(spec, context)

    assert isinstance(found, Done)


def test_a_command_that_ended_well_counts_as_a_change_where_its_database_cannot_be_asked(
    make_stack: MakeStack,
) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    database = Sqlite(name="db", path=stack.root / "shop.db")
    spec = one_off(stack, "").model_copy(update={"changes": database})
    script = "echo no database any more > /here/shop.db"
    stack.create(name_for(stack, context), script, "--volume", f"{stack.root}:/here")

    result = compose_run.STEP.run(spec, context)
    found = compose_run.STEP.probe and compose_run.STEP.probe(spec, context)

    assert isinstance(result, Result)
    assert result.changed
    assert isinstance(found, Done)
    assert found.changed


def test_a_command_whose_log_nobody_keeps_is_followed_to_its_end(make_stack: MakeStack) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    stack.create(name_for(stack, context), "sleep 1; exit 3", "--log-driver", "none")

    with pytest.raises(CommandFailed) as caught:
        compose_run.STEP.run(one_off(stack, ""), context)

    assert "exit code 3" in caught.value.message


def test_a_command_whose_container_is_removed_at_its_end_is_not_run_again(
    make_stack: MakeStack,
) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    stack.create(name_for(stack, context), "echo began; sleep 1")
    context.log = lambda _: stack.docker("rm", "-f", name_for(stack, context))

    with pytest.raises(StepError) as caught:
        compose_run.STEP.run(one_off(stack, ""), context)

    assert "is gone" in caught.value.message
    assert not caught.value.is_retryable


# --- an engine that is away for a while -----------------------------------------------------


def test_a_command_is_followed_although_the_engine_is_away_meanwhile(
    make_stack: MakeStack, relay: Relay
) -> None:
    stack = stack_of(make_stack)
    context = stack.context(step_id="migrate")
    stack.create(name_for(stack, context), "echo began; sleep 1; echo ended")

    def log(text: str) -> None:
        context.logged.append(text)
        relay.refuses = lambda _: text == "began"

    def show(_: str) -> None:
        relay.refuses = lambda _: False

    context.log, context.show = log, show

    compose_run.STEP.run(one_off(stack, ""), context)

    assert [line for line in context.logged if "engine" not in line] == ["began", "ended"]


def test_an_engine_that_goes_again_and_again_is_not_waited_for_for_ever(
    make_stack: MakeStack, relay: Relay
) -> None:
    stack = stack_of(make_stack)
    requests: list[bytes] = []

    def refuses(told: bytes) -> bool:
        requests.append(told)
        return b"/containers/json" in told and len(requests) < 500

    relay.refuses = refuses

    with pytest.raises(EngineGone):
        up(stack, ready_within=0.5)
