"""Ctrl-C on a terminal, and what CI systems and closed terminals send, in the middle of a run."""

import os
import signal
import sys
import textwrap
import time

import pexpect  # type: ignore[import-untyped]  # it brings no types
import pytest

from tests.scenarios.conftest import ROLLBACK, WAIT_FOR_GATE, Desk, Shop, deploy_with

pytestmark = pytest.mark.slow

THEN = """\
  - id: then
    uses: command
    with: {script: "echo then >> traces"}
    rerun: safe
"""


@pytest.fixture
def waiting(desk: Desk) -> Desk:
    """A desk whose deploy waits for the gate in the middle of a change, then does more."""
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE, more=THEN))
    desk.write("rollback.yaml", ROLLBACK)
    return desk


def end_of(terminal: "pexpect.spawn[str]") -> tuple[int | None, str]:
    """The exit status, and what was on the screen since the last thing that was expected."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus, str(terminal.before)


def test_ctrl_c_waits_for_a_step_that_changes_something_and_says_so(waiting: Desk) -> None:
    terminal = waiting.on_terminal("run", "deploy.yaml")
    waiting.traced("began")

    terminal.sendintr()
    terminal.expect("waiting for `change` to end")
    waiting.open_gate()
    status, screen = end_of(terminal)

    assert status == 130, screen
    assert "INTERRUPTED" in screen
    assert waiting.traces == ["looked", "began", "ended"]
    assert [run["end"] for run in waiting.history()] == ["interrupted"]


def test_after_one_ctrl_c_resume_finishes_the_run(waiting: Desk) -> None:
    terminal = waiting.on_terminal("run", "deploy.yaml")
    waiting.traced("began")
    terminal.sendintr()
    terminal.expect("waiting for `change` to end")
    waiting.open_gate()
    end_of(terminal)

    told = waiting.runbook("resume")

    assert told.status == 0, told.text
    assert waiting.traces == ["looked", "began", "ended", "then"]


def test_a_second_ctrl_c_stops_the_step_and_leaves_it_in_doubt(waiting: Desk) -> None:
    terminal = waiting.on_terminal("run", "deploy.yaml")
    waiting.traced("began")
    terminal.sendintr()
    terminal.expect("waiting for `change` to end")

    terminal.sendintr()
    status, screen = end_of(terminal)
    waiting.open_gate()
    parked = waiting.runbook("resume")
    told = waiting.runbook("resume", "--answer", "change=again", "--reason", "it was stopped")

    assert status == 130, screen
    assert "In doubt" in screen
    assert parked.status == 5, parked.text
    assert told.status == 0, told.text
    assert waiting.traces == ["looked", "began", "began", "ended", "then"]


def test_a_step_stopped_by_a_second_ctrl_c_is_settled_by_its_probe(desk: Desk) -> None:
    probed = deploy_with(WAIT_FOR_GATE, more=THEN, rerun="probe")
    desk.write("deploy.yaml", probed.replace("    with:\n      script: |", PROBED))
    desk.write("rollback.yaml", ROLLBACK)
    terminal = desk.on_terminal("run", "deploy.yaml")
    desk.traced("began")
    terminal.sendintr()
    terminal.expect("waiting for `change` to end")
    terminal.sendintr()
    end_of(terminal)
    desk.open_gate()

    told = desk.runbook("resume")

    assert told.status == 0, told.text
    assert desk.traces == ["looked", "began", "began", "ended", "then"]


PROBED = """\
    with:
      probe: [grep, -q, ended, traces]
      script: |"""


def test_a_person_at_a_terminal_settles_a_step_in_doubt(waiting: Desk) -> None:
    process = waiting.start("run", "deploy.yaml")
    waiting.traced("began")
    waiting.kill(process)
    waiting.clean_up()
    terminal = waiting.on_terminal("resume")

    terminal.expect("done, again or failed\\?")
    terminal.sendline("done")
    terminal.expect("Reason")
    terminal.sendline("I have looked")
    status, screen = end_of(terminal)

    assert status == 0, screen
    assert waiting.traces == ["looked", "began", "then"]


def test_ctrl_c_at_a_question_interrupts_the_run(desk: Desk) -> None:
    sure = deploy_with("echo changed >> traces").replace(
        "steps:\n", "steps:\n  - {id: sure, uses: confirm}\n"
    )
    desk.write("deploy.yaml", sure)
    desk.write("rollback.yaml", ROLLBACK)
    terminal = desk.on_terminal("run", "deploy.yaml")
    terminal.expect("\\[y/N\\]")

    terminal.sendintr()
    status, screen = end_of(terminal)
    told = desk.runbook("resume", "--yes")

    assert status == 130, screen
    assert told.status == 0, told.text
    assert desk.traces == ["looked", "changed"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["SIGTERM", "SIGHUP"]
)
def test_without_a_terminal_we_are_gone_in_time_and_the_command_goes_on(
    number: signal.Signals, status: int, waiting: Desk
) -> None:
    process = waiting.start("run", "deploy.yaml")
    waiting.traced("began")
    sent_at = time.monotonic()

    process.send_signal(number)
    told = waiting.ended(process)
    took_s = time.monotonic() - sent_at
    waiting.open_gate()
    waiting.traced("ended")
    resumed = waiting.runbook("resume")

    assert told.status == status, told.text
    assert took_s < 5
    assert f"INTERRUPTED by {number.name}" in told.text
    (run,) = waiting.history()
    last_lines = told.out.rstrip().splitlines()[-5:]
    assert last_lines[-1].endswith(f"runbook resume {run['id']}")
    assert any(line.endswith(f"runbook rollback {run['id']}") for line in last_lines)
    assert resumed.status == 0, resumed.text
    assert waiting.traces == ["looked", "began", "ended", "then"]


def test_resume_attaches_to_a_command_that_still_goes_on(waiting: Desk) -> None:
    process = waiting.start("run", "deploy.yaml")
    waiting.traced("began")
    waiting.kill(process, is_group=True)
    resumed = waiting.start("resume")
    waiting.eventually(lambda: waiting.runbook("run", "deploy.yaml").status == 6, "it is driven")

    waiting.open_gate()
    told = waiting.ended(resumed)

    assert told.status == 0, told.text
    assert waiting.traces == ["looked", "began", "ended", "then"]


def test_a_closed_terminal_interrupts_a_run_as_a_signal_does(waiting: Desk) -> None:
    terminal = waiting.on_terminal("run", "deploy.yaml")
    waiting.traced("began")

    os.close(terminal.fileno())
    waiting.eventually(lambda: not terminal.isalive(), "it is gone", 12.0)
    waiting.open_gate()
    waiting.traced("ended")
    told = waiting.runbook("resume")

    assert told.status == 0, told.text
    assert waiting.traces == ["looked", "began", "ended", "then"]


def test_an_interrupted_deploy_says_how_the_system_is_left(shop: Shop) -> None:
    shop.deployed("v1")
    process = shop.start(*shop.deploying("v2", watch="3s"))
    shop.eventually(lambda: shop.release() == "v2", "the second release serves", 20.0)
    told_so = shop.state / "runs"
    shop.eventually(lambda: any(told_so.glob("*/watch.log")), "it is watched")

    process.send_signal(signal.SIGTERM)
    told = shop.ended(process)
    resumed = shop.runbook("resume")

    assert told.status == 143, told.text
    assert "release is serving" in told.text
    assert "unwatched" in told.text
    assert resumed.status == 0, resumed.text
    assert shop.release() == "v2"


def test_an_interrupted_rollback_goes_on_and_ends_as_it_would_have(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces; exit 1"))
    waits = ROLLBACK.replace("echo undone >> traces", "echo undoing >> traces; cat gate")
    desk.write("rollback.yaml", waits.replace("cat gate", "until [ -e gate ]; do sleep 0.02; done"))
    process = desk.start("run", "deploy.yaml")
    desk.traced("undoing")
    process.send_signal(signal.SIGTERM)
    told = desk.ended(process)
    desk.open_gate()

    resumed = desk.runbook("resume")

    assert told.status == 143, told.text
    assert resumed.status == 3, resumed.text
    assert desk.traces == ["looked", "changed", "undoing"]


def test_a_signal_between_a_run_and_its_rollback_is_heard_by_the_rollback(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces; exit 1"))
    desk.write("rollback.yaml", ROLLBACK)
    program = textwrap.dedent("""
        import os, signal
        from runbook.app import App
        from runbook.__main__ import main
        scene = App._scene
        def interrupted(app, plan, state=None, known=None):
            if state is not None and state.undone:
                os.kill(os.getpid(), signal.SIGTERM)
            return scene(app, plan, state, known)
        App._scene = interrupted
        main()
    """)
    desk.program = [sys.executable, "-c", program]

    told = desk.runbook("run", "deploy.yaml")
    desk.program = [sys.executable, "-m", "runbook"]
    resumed = desk.runbook("resume")

    assert told.status == 143, told.text
    assert "runbook resume" in told.last_line
    assert resumed.status == 3, resumed.text
    assert desk.traces == ["looked", "changed", "undone"]
