"""Every exit status that a command gives, one scenario each, by real processes."""

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import runbook
from runbook.errors import ExitStatus
from tests.scenarios.conftest import ROLLBACK, WAIT_FOR_GATE, Desk, Told, deploy_with

Scenario = Callable[[Desk], Told]


def a_run_that_goes_well(desk: Desk) -> Told:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces"))
    return desk.runbook("run", "deploy.yaml")


def a_rollback_by_hand_that_goes_well(desk: Desk) -> Told:
    assert a_run_that_goes_well(desk).status == 0
    return desk.runbook("rollback")


def a_failure_that_no_rollback_is_defined_for(desk: Desk) -> Told:
    text = deploy_with("echo changed >> traces; exit 1")
    desk.write("deploy.yaml", text.partition("on_failure:")[0])
    return desk.runbook("run", "deploy.yaml")


def a_failure_before_the_restore_point(desk: Desk) -> Told:
    desk.write("deploy.yaml", deploy_with("true").replace("looked >> traces", "sorry; exit 1"))
    return desk.runbook("run", "deploy.yaml")


def an_invalid_runbook(desk: Desk) -> Told:
    desk.write("deploy.yaml", deploy_with("true").replace("rerun: ask", "rerunn: ask"))
    return desk.runbook("run", "deploy.yaml")


def an_unknown_input(desk: Desk) -> Told:
    desk.write("deploy.yaml", deploy_with("true"))
    return desk.runbook("run", "deploy.yaml", "--set", "revison=v2")


def a_missing_confirmation(desk: Desk) -> Told:
    text = deploy_with("true").replace("steps:\n", "steps:\n  - {id: sure, uses: confirm}\n")
    desk.write("deploy.yaml", text)
    return desk.runbook("run", "deploy.yaml")


def an_unknown_command(desk: Desk) -> Told:
    return desk.runbook("deploy")


def a_failure_that_is_rolled_back(desk: Desk) -> Told:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces; exit 1"))
    return desk.runbook("run", "deploy.yaml")


def a_failure_whose_rollback_fails(desk: Desk) -> Told:
    desk.write("rollback.yaml", ROLLBACK.replace("undone >> traces", "sorry; exit 1"))
    return a_failure_that_is_rolled_back(desk)


def a_failure_whose_rollback_is_in_doubt(desk: Desk) -> Told:
    torn = ROLLBACK.replace("undone >> traces", "half >> traces; kill -9 $PPID")
    desk.write("rollback.yaml", torn.replace("rerun: safe", "rerun: ask"))
    return a_failure_that_is_rolled_back(desk)


def a_rollback_by_hand_that_fails_after_a_change(desk: Desk) -> Told:
    desk.write("rollback.yaml", ROLLBACK.replace("undone >> traces", "half >> traces; exit 1"))
    return a_rollback_by_hand_that_goes_well(desk)


def a_step_in_doubt_and_nobody_to_ask(desk: Desk) -> Told:
    text = deploy_with(WAIT_FOR_GATE)
    desk.write("deploy.yaml", text)
    process = desk.start("run", "deploy.yaml")
    desk.traced("began")
    desk.kill(process)
    desk.clean_up()
    return desk.runbook("resume")


def a_lock_that_another_process_holds(desk: Desk) -> Told:
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE))
    desk.start("run", "deploy.yaml")
    desk.traced("began")
    return desk.runbook("run", "deploy.yaml")


def a_claim_that_a_dead_run_holds(desk: Desk) -> Told:
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE))
    process = desk.start("run", "deploy.yaml")
    desk.traced("began")
    desk.kill(process)
    return desk.runbook("run", "deploy.yaml")


def a_preflight_that_fails(desk: Desk) -> Told:
    text = deploy_with("true").replace("steps:\n", "steps:\n  - {id: fit, uses: preflight}\n")
    missing = "  - {id: gone, uses: command, with: {argv: [no-such-program]}, rerun: safe}\n"
    desk.write("deploy.yaml", text.replace("on_failure", missing + "on_failure"))
    return desk.runbook("run", "deploy.yaml")


def a_bug(desk: Desk) -> Told:
    copy = desk.root / "installed" / "runbook"
    shutil.copytree(Path(runbook.__file__).parent, copy)
    ledger = copy / "engine" / "ledger.py"
    # A copy of the program that raises what nobody foresaw.
    ledger.write_text(ledger.read_text().replace("def runs(", "def walks("))
    desk.state.mkdir()
    return desk.runbook("history", PYTHONPATH=str(copy.parent))


def interrupted_by(number: signal.Signals) -> Scenario:
    def scenario(desk: Desk) -> Told:
        # What it waits for only reads: it is stopped at once.
        waits = deploy_with("true").replace("echo looked >> traces", "echo began >> traces; cat")
        desk.write("deploy.yaml", waits.replace("; cat", "; sleep 600"))
        process = desk.start("run", "deploy.yaml")
        desk.traced("began")
        process.send_signal(number)
        return desk.ended(process)

    return scenario


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    status: ExitStatus
    scenario: Scenario
    says: str
    """What the person must be able to read."""
    traces: list[str]
    """What it has done to the world."""


ROWS = {
    "run": Row(ExitStatus.SUCCEEDED, a_run_that_goes_well, "succeeded", ["looked", "changed"]),
    "rollback by hand": Row(
        ExitStatus.SUCCEEDED,
        a_rollback_by_hand_that_goes_well,
        "is undone",
        ["looked", "changed", "undone"],
    ),
    "no rollback": Row(
        ExitStatus.FAILED,
        a_failure_that_no_rollback_is_defined_for,
        "may have changed something",
        ["looked", "changed"],
    ),
    "nothing changed": Row(
        ExitStatus.FAILED, a_failure_before_the_restore_point, "the system is as it was", []
    ),
    "invalid runbook": Row(ExitStatus.INVALID, an_invalid_runbook, "did you mean `rerun`", []),
    "invalid input": Row(ExitStatus.INVALID, an_unknown_input, "`revison`", []),
    "confirmation missing": Row(ExitStatus.INVALID, a_missing_confirmation, "add --yes", []),
    "usage": Row(ExitStatus.INVALID, an_unknown_command, "runbook --help", []),
    "rolled back": Row(
        ExitStatus.ROLLED_BACK,
        a_failure_that_is_rolled_back,
        "rolled back",
        ["looked", "changed", "undone"],
    ),
    "rollback failed": Row(
        ExitStatus.ROLLBACK_FAILED,
        a_failure_whose_rollback_fails,
        "ROLLBACK FAILED",
        ["looked", "changed"],
    ),
    "rollback in doubt": Row(
        ExitStatus.ROLLBACK_FAILED,
        a_failure_whose_rollback_is_in_doubt,
        "ROLLBACK IN DOUBT",
        ["looked", "changed", "half"],
    ),
    "rollback by hand failed": Row(
        ExitStatus.ROLLBACK_FAILED,
        a_rollback_by_hand_that_fails_after_a_change,
        "ROLLBACK FAILED",
        ["looked", "changed", "half"],
    ),
    "parked": Row(
        ExitStatus.PARKED,
        a_step_in_doubt_and_nobody_to_ask,
        "--answer change=done",
        ["looked", "began"],
    ),
    "lock held": Row(
        ExitStatus.HELD, a_lock_that_another_process_holds, "(alive)", ["looked", "began"]
    ),
    "claim held": Row(
        ExitStatus.HELD, a_claim_that_a_dead_run_holds, "runbook resume", ["looked", "began"]
    ),
    "preflight": Row(ExitStatus.UNFIT, a_preflight_that_fails, "no-such-program", []),
    "bug": Row(ExitStatus.BUG, a_bug, "the traceback is in", []),
    "hung up": Row(ExitStatus.HUNG_UP, interrupted_by(signal.SIGHUP), "by SIGHUP", ["began"]),
    "Ctrl-C": Row(ExitStatus.INTERRUPTED, interrupted_by(signal.SIGINT), "by SIGINT", ["began"]),
    "terminated": Row(
        ExitStatus.TERMINATED, interrupted_by(signal.SIGTERM), "by SIGTERM", ["began"]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_program_that_calls_us_is_told_how_it_ended(row: Row, desk: Desk) -> None:
    desk.write("rollback.yaml", ROLLBACK)

    told = row.scenario(desk)

    assert told.status == row.status, told.text
    assert row.says in told.text
    assert desk.traces == row.traces


def test_no_exit_status_is_left_out() -> None:
    walked = {row.status for row in ROWS.values()}

    assert walked == set(ExitStatus)


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", ["run", "nothing changed", "rolled back", "rollback failed", "preflight", "parked"]
)
def test_status_and_history_know_how_it_ended(row: str, desk: Desk) -> None:
    desk.write("rollback.yaml", ROLLBACK)
    ROWS[row].scenario(desk)

    shown = desk.history()[0]

    assert (
        shown["end"]
        == {
            "run": "succeeded",
            "nothing changed": "failed",
            "rolled back": "rolled back",
            "rollback failed": "rollback failed",
            "preflight": "failed",
            "parked": "waiting for an answer",
        }[row]
    )
