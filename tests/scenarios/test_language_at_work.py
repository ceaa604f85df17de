"""What the language offers, at work: finally, parallel, retry, on_error, when, inputs, secrets."""

from pathlib import Path

import pytest

from tests.scenarios.conftest import ROLLBACK, Desk, deploy_with

pytestmark = pytest.mark.slow


def step(step_id: str, script: str, more: str = "") -> str:
    """A step that runs a script, and may be repeated."""
    with_it = f'with: {{script: "{script}"}}'
    return f"  - {{id: {step_id}, uses: command, rerun: safe, {with_it}{more}}}\n"


def trace(step_id: str, more: str = "") -> str:
    """A step that leaves its own name."""
    return step(step_id, f"echo {step_id} >> traces", more)


def runbook_of(*steps: str, last: str = "", way_back: str = "") -> str:
    finally_part = f"finally:\n{last}" if last else ""
    return f"runbook: v1\nname: deploy\nsteps:\n{''.join(steps)}{finally_part}{way_back}"


LAST = trace("last")


def test_finally_steps_run_when_all_went_well(desk: Desk) -> None:
    desk.write("deploy.yaml", runbook_of(trace("one"), last=LAST))

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 0, told.text
    assert desk.traces == ["one", "last"]


def test_finally_steps_run_after_a_failure_and_again_when_it_is_resumed(desk: Desk) -> None:
    mended = "[ -e mended ] && echo mended >> traces"
    desk.write("deploy.yaml", runbook_of(step("fails", mended), trace("two"), last=LAST))

    told = desk.runbook("run", "deploy.yaml")
    traces = desk.traces
    (desk.root / "mended").touch()
    resumed = desk.runbook("resume")

    assert (told.status, resumed.status) == (1, 0), resumed.text
    assert traces == ["last"]
    assert desk.traces == ["last", "mended", "two", "last"]


def test_finally_steps_run_after_the_rollback_where_one_follows(desk: Desk) -> None:
    text = deploy_with("echo changed >> traces; exit 1")
    desk.write("deploy.yaml", f"{text}finally:\n{LAST}")
    desk.write("rollback.yaml", ROLLBACK)

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 3, told.text
    assert desk.traces == ["looked", "changed", "undone", "last"]


def test_a_parallel_group_runs_at_once_and_what_follows_waits_for_all_of_it(desk: Desk) -> None:
    # Each waits for the other: one after the other they would never end.
    meet = "touch {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo met >> traces"
    group = (
        "  - parallel:\n"
        f"    {step('left', meet.format('l', 'r'))}"
        "      - steps:\n"
        f"        {step('right', meet.format('r', 'l'))}"
        f"        {trace('then')}"
    )
    desk.write("deploy.yaml", runbook_of(group, trace("after")))

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 0, told.text
    assert sorted(desk.traces[:3]) == ["met", "met", "then"]
    assert desk.traces[3:] == ["after"]


def test_a_failure_in_a_group_waits_for_what_changes_something_beside_it(desk: Desk) -> None:
    fails = "until [ -e begun ]; do sleep 0.02; done; touch failed; exit 1"
    slow = "touch begun; until [ -e failed ]; do sleep 0.02; done; sleep 0.5; echo slow >> traces"
    group = f"  - parallel:\n    {step('fails', fails)}    {step('slow', slow)}"
    desk.write("deploy.yaml", runbook_of(group, trace("never")))

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 1, told.text
    assert desk.traces == ["slow"]


def test_a_step_is_tried_as_often_as_retry_says(desk: Desk) -> None:
    tries = "echo try >> traces; test $(wc -l < traces) -ge 3"
    retry = ", retry: {attempts: 3, delay: 50ms}"
    desk.write("deploy.yaml", runbook_of(step("flaky", tries, retry), trace("then")))

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 0, told.text
    assert desk.traces == ["try", "try", "try", "then"]


def test_a_step_that_fails_too_often_fails_the_run(desk: Desk) -> None:
    retry = ", retry: {attempts: 2, delay: 10ms}"
    desk.write("deploy.yaml", runbook_of(step("bad", "echo try >> traces; exit 1", retry)))

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 1, told.text
    assert desk.traces == ["try", "try"]


def test_a_step_that_may_fail_does_not_stop_the_run_and_is_reported(desk: Desk) -> None:
    may = ", on_error: {continue: dashboards are not critical}"
    desk.write("deploy.yaml", runbook_of(step("board", "exit 1", may), trace("then")))

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 0, told.text
    assert "went on without `board`" in told.text
    assert desk.traces == ["then"]


def test_a_step_whose_condition_does_not_hold_is_skipped(desk: Desk) -> None:
    text = runbook_of(
        trace("one", ", when: inputs.size > 5"), trace("two", ", when: steps.one.changed")
    )
    inputs = "inputs:\n  size: {type: integer, default: 3, env: SIZE}\n"
    desk.write("deploy.yaml", text.replace("steps:\n", f"{inputs}steps:\n", 1))

    skipped = desk.runbook("run", "deploy.yaml")
    traces = desk.traces
    by_variable = desk.runbook("run", "deploy.yaml", SIZE="6")

    assert (skipped.status, traces) == (0, []), skipped.text
    assert by_variable.status == 0, by_variable.text
    assert desk.traces == ["one", "two"]


def test_an_output_is_an_input_of_a_later_step(desk: Desk) -> None:
    asks = "  - {id: asks, uses: command, rerun: safe, with: {argv: [echo, blue], output: text}}\n"
    takes = (
        "  - id: takes\n    uses: command\n    rerun: safe\n"
        '    with: {script: "echo $COLOUR >> traces", environment:'
        ' {COLOUR: "${{ steps.asks.outputs.stdout }}"}}\n'
    )
    desk.write("deploy.yaml", runbook_of(asks, takes))

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 0, told.text
    assert desk.traces == ["blue"]


def test_a_step_that_takes_too_long_is_stopped_with_all_that_it_started(desk: Desk) -> None:
    hangs = "sleep 60 & echo $! > child; echo hangs >> traces; wait"
    desk.write("deploy.yaml", runbook_of(step("slow", hangs, ", timeout: 500ms")))

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 1, told.text
    assert "did not end within" in told.text
    assert desk.traces == ["hangs"]
    child = (desk.root / "child").read_text().strip()
    desk.eventually(lambda: not Path("/proc", child).exists(), "its child is gone", 15.0)


CANARIES = {"env": "canary-that-came-by-environment", "file": "canary-from-a-file\nwith two lines"}
PROJECT = "project: desk\nsecrets:\n  env: {env: CANARY}\n  file: {file: canary.txt}\n"
LEAKS = (
    '  - id: leaks\n    uses: command\n    rerun: safe\n    guidance: look at it\n    with:\n'
    '      environment: {ONE: "${{ secrets.env }}", TWO: "x ${{ secrets.file }} y"}\n'
    "      script: |\n"
    '        echo "$ONE $TWO" >> seen\n'
    '        printf %s "$ONE" | sed "s/./&\\n/5" >&2\n'
    '        echo "out $ONE"; echo "err $TWO" >&2; printf "no newline $ONE"\n'
    "        exit 1\n"
)  # fmt: skip


def test_a_secret_given_to_a_failing_command_is_in_no_byte_that_we_write(desk: Desk) -> None:
    desk.write("project.yaml", PROJECT)
    desk.write("canary.txt", CANARIES["file"] + "\n")
    desk.write("deploy.yaml", runbook_of(LEAKS))

    told = [
        desk.runbook("run", "deploy.yaml", "-v", CANARY=CANARIES["env"]),
        desk.runbook("resume", "-o", "json", CANARY=CANARIES["env"]),
        desk.runbook("resume", "-o", "json", "-v", CANARY=CANARIES["env"]),
        desk.runbook("status", "-o", "json"),
        desk.runbook("history", "-o", "json"),
        desk.runbook("logs", str(desk.history()[0]["id"])),
    ]

    assert [each.status for each in told[:3]] == [1, 1, 1], told[0].text
    assert "out " in told[0].text
    assert CANARIES["env"] in (desk.root / "seen").read_text()
    written = "".join(each.text for each in told).encode()
    written += b"".join(p.read_bytes() for p in desk.state.rglob("*") if p.is_file())
    for canary in [CANARIES["env"], *CANARIES["file"].splitlines()]:
        assert canary.encode() not in written


def test_a_secret_is_in_no_argument_list_and_in_no_environment_but_its_own(desk: Desk) -> None:
    desk.write("project.yaml", PROJECT)
    desk.write("canary.txt", CANARIES["file"])
    looks = step(
        "looks", "echo began >> traces; until [ -e gate ]; do sleep 0.02; done; env >> seen"
    )
    needs = LEAKS.replace("exit 1", "exit 0")
    desk.write("deploy.yaml", runbook_of(looks, needs))
    process = desk.start("run", "deploy.yaml", CANARY=CANARIES["env"])
    desk.traced("began")

    arguments = b"".join(command_lines())
    desk.open_gate()
    told = desk.ended(process)

    assert told.status == 0, told.text
    assert CANARIES["env"].encode() not in arguments
    environment, _, _ = (desk.root / "seen").read_text().rpartition("PATH=")
    assert CANARIES["env"] not in environment


def command_lines() -> list[bytes]:
    """The arguments of every process there is."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    return lines


def test_a_secret_in_an_argument_list_is_refused(desk: Desk) -> None:
    desk.write("project.yaml", PROJECT)
    desk.write("canary.txt", CANARIES["file"])
    tells = (
        '  - {id: tells, uses: command, rerun: safe, with: {argv: [echo, "${{ secrets.env }}"]}}\n'
    )
    desk.write("deploy.yaml", runbook_of(tells))

    told = desk.runbook("run", "deploy.yaml", CANARY=CANARIES["env"])

    assert told.status == 2, told.text
    assert CANARIES["env"] not in told.text
