"""Runs that nobody drove for more than a quarter of an hour."""

from datetime import timedelta

import pytest

from tests.scenarios.conftest import ROLLBACK, WAIT_FOR_GATE, Desk, deploy_with

pytestmark = pytest.mark.slow

LONG = timedelta(minutes=16)
SHORT = timedelta(minutes=14)
FAILS = """\
  - id: fails
    uses: command
    with: {script: "exit 1", effect: reads}
    rerun: safe
"""
LOOKS_LONG = "echo looked >> traces; while [ ! -e gate ]; do sleep 0.02; done"


def killed_while_it_looks(desk: Desk) -> None:
    text = deploy_with("echo changed >> traces")
    desk.write("deploy.yaml", text.replace("echo looked >> traces", LOOKS_LONG))
    desk.write("rollback.yaml", ROLLBACK)
    process = desk.start("run", "deploy.yaml")
    desk.traced("looked")
    desk.kill(process)
    desk.clean_up()
    desk.open_gate()


def killed_while_it_changes(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE, more=FAILS))
    desk.write("rollback.yaml", ROLLBACK)
    process = desk.start("run", "deploy.yaml")
    desk.traced("began")
    desk.kill(process)
    desk.open_gate()
    desk.traced("ended")


def test_a_run_that_had_changed_nothing_is_begun_anew(desk: Desk) -> None:
    killed_while_it_looks(desk)
    desk.age(LONG)

    told = desk.runbook("resume")

    assert told.status == 0, told.text
    assert "begun anew" in told.text
    assert [run["end"] for run in desk.history()] == ["superseded", "succeeded"]
    assert desk.traces == ["looked", "looked", "changed"]


def test_a_run_that_had_changed_nothing_goes_on_after_a_short_while(desk: Desk) -> None:
    killed_while_it_looks(desk)
    desk.age(SHORT)

    told = desk.runbook("resume")

    assert told.status == 0, told.text
    assert [run["end"] for run in desk.history()] == ["succeeded"]


def test_a_run_that_had_changed_something_asks_before_it_rolls_back(desk: Desk) -> None:
    killed_while_it_changes(desk)
    desk.age(LONG)

    told = desk.runbook("resume")

    assert told.status == 5, told.text
    assert "for 16 minutes since its backup" in told.text
    assert "undone" not in desk.traces
    assert desk.runbook("run", "deploy.yaml").status == 6


def test_the_command_that_its_last_line_shows_rolls_it_back(desk: Desk) -> None:
    killed_while_it_changes(desk)
    desk.age(LONG)
    parked = desk.runbook("resume")

    told = desk.typed(parked.last_line)

    assert told.status == 3, told.text
    assert desk.traces == ["looked", "began", "ended", "undone"]


def test_a_no_leaves_the_system_as_it_is(desk: Desk) -> None:
    killed_while_it_changes(desk)
    desk.age(LONG)

    told = desk.runbook("resume", "--answer", "fails=failed", "--reason", "orders came in")

    assert told.status == 1, told.text
    assert "undone" not in desk.traces


def test_a_person_at_the_terminal_is_asked(desk: Desk) -> None:
    killed_while_it_changes(desk)
    desk.age(LONG)
    terminal = desk.on_terminal("resume")

    terminal.expect("since its backup")
    terminal.sendline("y")
    terminal.wait()
    terminal.close()

    assert terminal.exitstatus == 3
    assert "undone" in desk.traces


def test_after_a_short_interruption_a_failure_rolls_back_by_itself(desk: Desk) -> None:
    killed_while_it_changes(desk)
    desk.age(SHORT)

    told = desk.runbook("resume")

    assert told.status == 3, told.text
    assert desk.traces == ["looked", "began", "ended", "undone"]


def test_a_rollback_goes_on_however_long_it_was_interrupted(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces; exit 1"))
    waits = "echo undoing >> traces; while [ ! -e gate ]; do sleep 0.02; done"
    desk.write("rollback.yaml", ROLLBACK.replace("echo undone >> traces", waits))
    process = desk.start("run", "deploy.yaml")
    desk.traced("undoing")
    desk.kill(process)
    desk.open_gate()
    desk.age(timedelta(days=2))

    told = desk.runbook("resume")

    assert told.status == 3, told.text
    assert desk.traces == ["looked", "changed", "undoing"]
