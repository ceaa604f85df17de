"""A run waits for other people, holds no process meanwhile, and goes on by what they say."""

import json
import os
from datetime import timedelta

import pytest

from tests.scenarios.conftest import Desk, Shop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 and not os.environ.get("CI"),
        reason="only root may act under the name of another account (sudo)",
    ),
]

SAY = """\
runbook: v1
name: deploy
inputs:
  word: {type: string, default: plain}
  token: {type: string, sensitive: true, env: TOKEN, required: false}
steps:
  - id: say
    uses: command
    rerun: safe
    with: {script: 'echo "$WORD" >> traces', environment: {WORD: "${{ inputs.word }}"}}
"""
ASKING = """\
runbook: v1
name: deploy
steps:
  - {id: first, uses: command, rerun: safe, with: {script: 'echo first >> traces'}}
  - {id: ok, uses: approval, with: {message: "Go on?", WITH}}
  - {id: then, uses: command, rerun: safe, with: {script: 'echo then >> traces'}}
"""


@pytest.fixture
def prod(desk: Desk) -> Desk:
    """A desk whose environment wants two people's yes before anything runs."""
    desk.environ |= {"SUDO_USER": "ann", "TOKEN": "canary-1234"}
    desk.write("deploy.yaml", SAY)
    desk.write("environments/prod.yaml", "policy: {approvals: {required: 2}}\n")
    return desk


def asking(desk: Desk, how: str = "required: 1") -> Desk:
    """A desk with a runbook that asks in its middle."""
    desk.environ |= {"SUDO_USER": "ann"}
    desk.write("deploy.yaml", ASKING.replace("WITH", how))
    return desk


def test_a_run_parks_until_as_many_other_people_as_the_policy_wants_have_approved(
    prod: Desk,
) -> None:
    parked = prod.runbook("run", "deploy.yaml", "--env", "prod", "--set", "word=v2")
    resumed = prod.runbook("resume", "--yes")
    own = prod.runbook("approve")
    first = prod.runbook("approve", SUDO_USER="bob")
    again = prod.runbook("approve", SUDO_USER="bob")
    traces = prod.traces
    second = prod.runbook("approve", "--note", "fine", SUDO_USER="eve")

    statuses = [told.status for told in (parked, resumed, own, first, again, second)]
    assert statuses == [5, 5, 2, 5, 2, 0], parked.text + first.text + second.text
    assert "deploy -> prod, word=v2" in parked.out
    assert "token" not in parked.text
    assert "`ann` started this run, and somebody else must approve it" in own.err
    assert "the yes of 2 of other people than ann; so far by bob" in first.out
    assert "`bob` has approved it already" in again.err
    assert (traces, prod.traces) == ([], ["v2"])


def test_the_last_line_of_a_parked_run_is_what_the_other_person_types(prod: Desk) -> None:
    parked = prod.runbook("run", "deploy.yaml", "--env", "prod")
    status = prod.runbook("status")
    prod.environ["SUDO_USER"] = "bob"
    first = prod.typed(parked.last_line)
    prod.environ["SUDO_USER"] = "eve"
    second = prod.typed(first.last_line)

    assert parked.last_line.split()[-2] == "approve"
    assert f"go on    {parked.last_line}" in status.out
    assert (first.status, second.status) == (5, 0), first.text + second.text


def test_who_approved_and_when_stands_in_the_journal(prod: Desk) -> None:
    prod.runbook("run", "deploy.yaml", "--env", "prod")
    prod.runbook("approve", SUDO_USER="bob")
    waiting = json.loads(prod.runbook("status", prod.history()[0]["id"], "-o", "json").out)
    lines = prod.runbook("approve", "--note", "fine", "-o", "jsonl", SUDO_USER="eve").out
    events = [json.loads(line) for line in lines.splitlines()]

    assert waiting["waiting"][0]["approval"] == {
        "required": 2, "of": [], "allow_self": False, "approved_by": ["bob"],
    }  # fmt: skip
    given = [event for event in events if event["type"] == "ApprovalGiven"]
    assert [(event["by"], event["note"]) for event in given] == [("bob", ""), ("eve", "fine")]
    ended = events[-1]
    approval = next(step for step in ended["steps"] if step["id"] == "policy_approval")
    assert approval["outputs"] == {"by": ["bob", "eve"]}


def test_a_no_of_somebody_else_ends_the_run_and_nothing_has_run(prod: Desk) -> None:
    prod.runbook("run", "deploy.yaml", "--env", "prod")
    prod.runbook("approve", SUDO_USER="bob")
    rejected = prod.runbook("reject", "--reason", "not today", SUDO_USER="eve")
    late = prod.runbook("approve", SUDO_USER="mallory")

    assert (rejected.status, late.status) == (1, 2), rejected.text
    assert "refused by eve: not today" in rejected.out
    assert "the system is as it was" in rejected.out
    assert prod.traces == []


def test_only_named_people_count_and_nobody_after_it_has_expired(desk: Desk) -> None:
    asking(desk, "by: [bob], expires: 1h, allow_self: true")

    parked = desk.runbook("run", "deploy.yaml")
    other = desk.runbook("approve", SUDO_USER="eve")
    desk.age(timedelta(hours=2))
    late = desk.runbook("approve", SUDO_USER="bob")
    ended = desk.runbook("resume")

    assert [told.status for told in (parked, other, late, ended)] == [5, 2, 2, 1], ended.text
    assert "`eve` is none of those who may: bob" in other.err
    assert "expired at" in late.err
    assert "nobody answered in time" in ended.text
    assert desk.traces == ["first"]


def test_an_approval_stands_where_the_run_cannot_go_on_from_there(desk: Desk) -> None:
    asking(desk)
    secret = "secrets: {token: {env: TOKEN}}\nsteps:"
    use = "{script: 'echo then >> traces', environment: {T: \"${{ secrets.token }}\"}}"
    text = (desk.root / "deploy.yaml").read_text().replace("steps:", secret)
    desk.write("deploy.yaml", text.replace("{script: 'echo then >> traces'}", use))

    parked = desk.runbook("run", "deploy.yaml", TOKEN="canary-1234")
    approved = desk.runbook("approve", SUDO_USER="bob")
    resumed = desk.runbook("resume", TOKEN="canary-1234")

    assert (parked.status, resumed.status) == (5, 0), parked.text + resumed.text
    assert approved.status not in (0, 5)
    assert "approved by bob" in approved.err
    assert "TOKEN" in approved.err
    assert desk.traces == ["first", "then"]


def test_a_request_that_a_newer_run_has_made_void_is_said_to_be_so(prod: Desk) -> None:
    prod.runbook("run", "deploy.yaml", "--env", "prod")
    first = prod.history()[0]["id"]
    again = prod.runbook("run", "deploy.yaml", "--env", "prod")
    second = prod.history()[-1]["id"]
    late = prod.runbook("approve", first, SUDO_USER="bob")

    assert again.status == 5
    assert f"supersedes {first}, which had changed nothing: what it waited for" in again.err
    assert f"`{first}` was superseded by `{second}`: nothing is asked" in late.err
    assert f"status {second}" in late.err


def test_nobody_starts_what_nobody_else_could_approve(desk: Desk) -> None:
    asking(desk, "by: [ann, bob], required: 2")

    refused = desk.runbook("run", "deploy.yaml")
    by_another = desk.runbook("run", "deploy.yaml", SUDO_USER="eve")

    assert (refused.status, by_another.status) == (2, 5), refused.text
    assert "wants the yes of 2 of ann, bob, and `ann`, who starts the run, does not" in refused.err


def test_an_approval_outlives_a_kill_right_after_it(desk: Desk) -> None:
    asking(desk)
    wait = "echo then >> traces; while [ ! -e gate ]; do sleep 0.02; done"
    text = (desk.root / "deploy.yaml").read_text()
    desk.write("deploy.yaml", text.replace("echo then >> traces", wait))
    desk.runbook("run", "deploy.yaml")

    approving = desk.start("approve", SUDO_USER="bob")
    desk.traced("then")
    desk.kill(approving, is_group=True)
    desk.open_gate()
    resumed = desk.runbook("resume")

    assert resumed.status == 0, resumed.text
    assert desk.traces[0] == "first"
    assert set(desk.traces[1:]) == {"then"}
    assert desk.runbook("approve", SUDO_USER="eve").status == 2


def test_a_runbook_does_not_change_under_those_who_approve_it(desk: Desk) -> None:
    asking(desk)
    desk.runbook("run", "deploy.yaml")
    text = (desk.root / "deploy.yaml").read_text()
    desk.write("deploy.yaml", text.replace("echo then", "echo other"))

    amended = desk.runbook("resume", "--amend", "--yes")
    approved = desk.runbook("approve", SUDO_USER="bob")

    assert (amended.status, approved.status) == (2, 0), amended.text
    assert "asked to approve it as it was" in amended.err
    assert desk.traces == ["first", "then"]


def test_no_approval_stands_in_the_way_back(shop: Shop) -> None:
    shop.environ |= {"SUDO_USER": "ann"}
    environment = shop.root / "runbooks" / "environments" / "prod.yaml"
    environment.parent.mkdir()
    environment.write_text("policy: {approvals: {by: [bob]}}\n")

    parked = shop.runbook(*shop.deploying("v1"), "--env", "prod")
    approved = shop.runbook("approve", SUDO_USER="bob")
    back = shop.runbook("rollback", "--set", "data=keep", "--yes")

    statuses = [told.status for told in (parked, approved, back)]
    assert statuses == [5, 0, 0], approved.text + back.text
    assert shop.release() is None
