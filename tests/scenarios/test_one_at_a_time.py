"""One unfinished run per lock: who proceeds, who is turned away, and what he is told."""

import re
import shutil
import socket

import pytest

from tests.scenarios.conftest import ROLLBACK, WAIT_FOR_GATE, Desk, Shop, deploy_with

pytestmark = pytest.mark.slow


@pytest.fixture
def waiting(desk: Desk) -> Desk:
    """A desk whose deploy waits for the gate in the middle of a change."""
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE))
    desk.write("rollback.yaml", ROLLBACK)
    return desk


def test_of_runs_started_at_once_exactly_one_proceeds(waiting: Desk) -> None:
    contenders = [waiting.start("run", "deploy.yaml") for _ in range(3)]
    waiting.eventually(
        lambda: sum(each.poll() is not None for each in contenders) == 2, "two are away", 20.0
    )
    waiting.open_gate()
    told = [waiting.ended(each) for each in contenders]

    assert sorted(each.status for each in told) == [0, 6, 6]
    (winner,) = (n for n, each in enumerate(told) if each.status == 0)
    for each in told:
        assert each.status == 0 or f"process {contenders[winner].pid} (alive)" in each.text
    assert waiting.traces == ["looked", "began", "ended"]
    assert len(waiting.history()) == 1


def test_who_is_turned_away_learns_who_holds_the_lock(waiting: Desk) -> None:
    holder = waiting.start("run", "deploy.yaml", SUDO_USER="ada")
    waiting.traced("began")

    told = waiting.runbook("run", "deploy.yaml", SUDO_USER="bob")

    (run,) = waiting.history()
    owner = f"ada@{socket.gethostname()}, process {holder.pid} (alive)"
    assert f"{owner}, run `{run['id']}`, step `change`" in told.text
    assert told.status == 6


def test_nobody_else_resumes_rolls_back_or_aborts_a_run_that_is_driven(waiting: Desk) -> None:
    waiting.start("run", "deploy.yaml")
    waiting.traced("began")
    (run,) = waiting.history()

    statuses = [
        waiting.runbook("resume").status,
        waiting.runbook("rollback", str(run["id"])).status,
        waiting.runbook("abort", str(run["id"]), "--reason", "enough").status,
    ]

    assert statuses == [6, 6, 6]
    assert waiting.traces == ["looked", "began"]


def test_a_killed_run_keeps_its_claim_and_offers_three_commands(waiting: Desk) -> None:
    process = waiting.start("run", "deploy.yaml")
    waiting.traced("began")
    waiting.kill(process, is_group=True)
    (run,) = waiting.history()

    told = waiting.runbook("run", "deploy.yaml")

    shown = re.findall(r"-m runbook (\w+ \S+(?: --reason TEXT)?)", told.text)
    assert told.status == 6
    assert shown == [
        f"resume {run['id']}",
        f"rollback {run['id']}",
        f"abort {run['id']} --reason TEXT",
    ]
    assert waiting.traces == ["looked", "began"]


@pytest.mark.parametrize(
    ("command", "status", "traces"),
    [
        ("resume", 0, ["looked", "began", "ended"]),
        ("rollback", 0, ["looked", "began", "ended", "undone"]),
        ("abort", 0, ["looked", "began", "ended"]),
    ],
)
def test_each_of_the_three_commands_works_as_it_is_shown(
    command: str, status: int, traces: list[str], waiting: Desk
) -> None:
    process = waiting.start("run", "deploy.yaml")
    waiting.traced("began")
    waiting.kill(process)
    told = waiting.runbook("run", "deploy.yaml")
    (line,) = re.findall(rf"(?m)\S+ -m runbook {command} .*$", told.text)
    waiting.open_gate()

    went_on = waiting.typed(line)

    assert went_on.status == status, went_on.text
    assert waiting.traces == traces
    assert waiting.runbook("resume").text.startswith("nothing to resume")


def test_after_an_abort_a_new_run_starts(waiting: Desk) -> None:
    process = waiting.start("run", "deploy.yaml")
    waiting.traced("began")
    waiting.kill(process)
    (run,) = waiting.history()
    waiting.open_gate()
    assert waiting.runbook("run", "deploy.yaml").status == 6

    aborted = waiting.runbook("abort", str(run["id"]), "--reason", "mended by hand")
    told = waiting.runbook("run", "deploy.yaml")

    assert (aborted.status, told.status) == (0, 0), told.text
    assert [run["end"] for run in waiting.history()] == ["aborted", "succeeded"]
    assert waiting.runbook("resume", str(run["id"])).status == 2


def test_a_run_that_changed_nothing_is_superseded_and_that_is_said(desk: Desk) -> None:
    looks = deploy_with("true").replace("echo looked", "echo looked; exit 1; echo")
    desk.write("deploy.yaml", looks)
    desk.write("rollback.yaml", ROLLBACK)
    assert desk.runbook("run", "deploy.yaml").status == 1
    desk.write("deploy.yaml", deploy_with("echo changed >> traces"))

    told = desk.runbook("run", "deploy.yaml")

    (first, _) = desk.history()
    assert told.status == 0, told.text
    assert f"supersedes {first['id']}" in told.text
    assert desk.runbook("resume", str(first["id"])).status == 2


def test_resume_without_a_run_names_them_where_there_are_several(desk: Desk) -> None:
    for folder in ("one", "two"):
        desk.write(f"{folder}/deploy.yaml", deploy_with(f"echo {folder} >> traces; exit 1"))
        rollback = ROLLBACK.replace("echo undone >> traces", "exit 1")
        desk.write(f"{folder}/rollback.yaml", rollback)
        assert desk.runbook("run", f"{folder}/deploy.yaml").status == 4

    told = desk.runbook("resume")

    unfinished = [str(run["id"]) for run in desk.history() if run["runbook"] == "rollback"]
    assert told.status == 2
    assert all(run in told.text for run in unfinished)


def test_two_projects_do_not_stand_in_each_others_way(desk: Desk) -> None:
    for folder in ("one", "two"):
        desk.write(f"{folder}/deploy.yaml", deploy_with(WAIT_FOR_GATE.replace("gate", "../gate")))
        desk.write(f"{folder}/rollback.yaml", ROLLBACK)
    first = desk.start("run", "one/deploy.yaml")
    second = desk.start("run", "two/deploy.yaml")

    desk.open_gate()

    assert [desk.ended(first).status, desk.ended(second).status] == [0, 0]


def test_after_a_kill_in_the_middle_of_a_deploy_only_its_abort_lets_the_next_one_start(
    shop: Shop,
) -> None:
    shop.deployed("v1")
    process = shop.start(*shop.deploying("v2", watch="60s"))
    shop.eventually(lambda: shop.release() == "v2", "the second release serves", 20.0)
    shop.kill(process, is_group=True)
    killed = str(shop.history()[-1]["id"])

    refused = shop.deploy("v3")
    aborted = shop.runbook("abort", killed, "--reason", "it serves well")
    told = shop.deploy("v2")

    assert refused.status == 6
    assert killed in refused.text
    assert aborted.status == 0, aborted.text
    assert told.status == 0, told.text
    assert shop.release() == "v2"


def test_a_rollback_by_hand_that_failed_after_a_change_goes_on_as_the_same_run(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces"))
    desk.write("rollback.yaml", ROLLBACK.replace("echo undone >> traces", FAILS_ONCE))
    assert desk.runbook("run", "deploy.yaml").status == 0
    assert desk.runbook("rollback").status == 4

    told = desk.runbook("rollback")

    assert told.status == 0, told.text
    assert desk.traces == ["looked", "changed", "half", "undone"]
    assert [run["end"] for run in desk.history()] == ["rolled back", "succeeded"]


FAILS_ONCE = "[ -e once ] || { touch once; echo half >> traces; exit 1; }; echo undone >> traces"


def test_a_rollback_by_hand_waits_for_the_claim_of_another_run(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces"))
    desk.write("rollback.yaml", ROLLBACK)
    desk.write("other.yaml", deploy_with(WAIT_FOR_GATE).partition("on_failure")[0])
    assert desk.runbook("run", "deploy.yaml").status == 0
    process = desk.start("run", "other.yaml")
    desk.traced("began")
    desk.kill(process)

    told = desk.runbook("rollback")

    assert told.status == 6, told.text
    assert "runbook resume" in told.text
    assert "undone" not in desk.traces


def test_a_rollback_that_a_newer_run_overtakes_at_the_prompt_is_refused(shop: Shop) -> None:
    shop.deployed("v1")
    shop.deployed("v2")
    terminal = shop.on_terminal("rollback")
    terminal.expect("data: ")
    shop.deployed("v1")
    before = shop.world()

    terminal.sendline("restore")
    terminal.expect("is newer than")
    terminal.wait()
    terminal.close()

    assert terminal.exitstatus == 2
    assert shop.world() == before
    assert [run["end"] for run in shop.history()] == ["succeeded"] * 3


def test_an_adopted_command_whose_output_is_lost_is_in_doubt(desk: Desk) -> None:
    text = deploy_with(WAIT_FOR_GATE).replace(
        "      script: |", "      output: text\n      script: |"
    )
    desk.write("deploy.yaml", text)
    desk.write("rollback.yaml", ROLLBACK)
    process = desk.start("run", "deploy.yaml")
    desk.traced("began")
    desk.kill(process, is_group=True)
    (raw,) = desk.state.glob("attempts/*/change.1/call-1/raw")
    shutil.rmtree(raw.readlink())
    desk.open_gate()
    desk.traced("ended")

    told = desk.runbook("resume")

    assert told.status == 5, told.text
    assert "--answer change=" in told.text
    assert desk.traces == ["looked", "began", "ended"]
