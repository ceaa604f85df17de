"""`resume --amend`: a run goes on by its runbook as it reads now, as far as it has not begun."""

import pytest

from tests.scenarios.conftest import ROLLBACK, WAIT_FOR_GATE, Desk, deploy_with

pytestmark = pytest.mark.slow

THEN = """\
  - id: then
    uses: command
    with: {script: "exit 7"}
    rerun: safe
"""
MENDED = THEN.replace("exit 7", "echo mended >> traces")
LAST = """\
  - id: last
    uses: command
    with: {script: "echo last >> traces"}
    rerun: safe
"""


@pytest.fixture
def failed(desk: Desk) -> Desk:
    """A desk whose deploy has failed for a mistake in its runbook, and pins no way back."""
    desk.write("deploy.yaml", without_rollback(THEN))
    assert desk.runbook("run", "deploy.yaml").status == 1
    return desk


def without_rollback(more: str) -> str:
    return deploy_with("echo done >> traces", more=more).partition("on_failure")[0]


def test_a_step_that_failed_and_one_that_is_new_are_adopted(failed: Desk) -> None:
    failed.write("deploy.yaml", without_rollback(MENDED + LAST))

    told = failed.runbook("resume", "--amend", "--yes")

    assert told.status == 0, told.text
    assert failed.traces == ["looked", "done", "mended", "last"]
    assert "-  script: exit 7" in told.err
    assert "+  script: echo mended >> traces" in told.err
    assert "step last is new" in told.err


def test_what_was_adopted_is_what_a_later_resume_follows(failed: Desk) -> None:
    failed.write("deploy.yaml", without_rollback(THEN.replace("exit 7", "exit 8") + LAST))
    assert failed.runbook("resume", "--amend", "--yes").status == 1
    failed.write("deploy.yaml", "no runbook at all")

    told = failed.runbook("resume")

    assert told.status == 1, told.text
    assert "ended with exit code 8" in told.text


def test_without_a_terminal_and_without_yes_nothing_is_adopted(failed: Desk) -> None:
    failed.write("deploy.yaml", without_rollback(MENDED))

    told = failed.runbook("resume", "--amend")

    assert told.status == 2, told.text
    assert "+  script: echo mended >> traces" in told.err
    assert "--amend --yes" in told.err
    assert failed.traces == ["looked", "done"]
    assert failed.runbook("resume").status == 1


def test_on_a_terminal_a_person_is_asked(failed: Desk) -> None:
    failed.write("deploy.yaml", without_rollback(MENDED))
    terminal = failed.on_terminal("resume", "--amend")

    terminal.expect_exact("Follow it from here on? [y/N]")
    terminal.sendline("y")
    terminal.expect_exact("succeeded")
    terminal.wait()

    assert terminal.exitstatus == 0
    assert failed.traces == ["looked", "done", "mended"]


def test_a_step_that_is_done_is_not_taken_back(failed: Desk) -> None:
    edited = without_rollback(MENDED).replace("echo done", "echo otherwise")
    failed.write("deploy.yaml", edited)

    told = failed.runbook("resume", "--amend", "--yes")

    assert told.status == 2, told.text
    assert "step `change` is another, and was succeeded already" in told.err
    assert failed.traces == ["looked", "done"]


def test_a_broken_runbook_is_refused_with_what_is_wrong(failed: Desk) -> None:
    failed.write("deploy.yaml", without_rollback(MENDED.replace("uses", "usus")))

    told = failed.runbook("resume", "--amend", "--yes")

    assert told.status == 2, told.text
    assert "unknown key `usus`" in told.err
    assert failed.traces == ["looked", "done"]


def test_where_nothing_differs_the_run_just_goes_on(failed: Desk) -> None:
    told = failed.runbook("resume", "--amend")

    assert told.status == 1, told.text
    assert "there is nothing to amend" in told.err


def test_a_rollback_that_failed_for_a_mistake_is_mended_and_finished(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with("echo done >> traces", more=THEN))
    desk.write("rollback.yaml", ROLLBACK + THEN)
    assert desk.runbook("run", "deploy.yaml").status == 4
    desk.write("rollback.yaml", ROLLBACK + MENDED)

    told = desk.runbook("resume", "--amend", "--yes")

    assert told.status == 3, told.text
    assert desk.traces == ["looked", "done", "undone", "mended"]


def test_a_run_that_was_killed_adopts_what_it_has_not_begun(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE, more=THEN))
    desk.write("rollback.yaml", ROLLBACK)
    process = desk.start("run", "deploy.yaml")
    desk.traced("began")
    desk.kill(process, is_group=True)
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE, more=MENDED))
    desk.write("rollback.yaml", ROLLBACK.replace("undone", "otherwise"))
    desk.open_gate()
    desk.traced("ended")

    told = desk.runbook("resume", "--amend", "--yes")

    assert told.status == 0, told.text
    assert desk.traces == ["looked", "began", "ended", "mended"]
    assert desk.runbook("rollback").status == 0
    assert desk.traces[-1] == "otherwise"
