"""What goes wrong around a deploy on the real stack: a second journal, broken services, no room."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import small_tmpfs
from tests.real.conftest import MakeStack
from tests.real.shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def shop(make_stack: MakeStack) -> Iterator[Shop]:
    """The sample stack with its first release deployed."""
    made = Shop(stack=make_stack(""))
    made.make()
    made.deployed("v1")
    made.order("one")
    yield made
    made.remove()


def test_a_second_journal_does_not_act_on_a_stack_until_the_first_is_given_up(shop: Shop) -> None:
    words = shop.deploying("v3")
    before = shop.world()
    second = ["--state-dir", str(shop.stack.root / "second")]

    refused = shop.runbook(*second, *words)
    untouched = shop.world()
    journal = refused.text.partition("--journal ")[2].split()[0]
    given_up = shop.runbook("abort", "--journal", journal, "--reason", "that machine is gone")
    proceeds = shop.runbook(*second, *words)

    assert refused.status == 6, refused.text
    assert str(shop.state) in refused.text
    assert untouched == before
    assert given_up.status == 0, given_up.text
    assert proceeds.status == 0, proceeds.text


def test_looking_needs_no_claim(shop: Shop) -> None:
    quick = ["--set", "duration=1s", "--set", "interval=100ms"]
    second = ["--state-dir", str(shop.stack.root / "second")]

    told = shop.runbook(*second, "run", "runbooks/verify.yaml", *quick)

    assert told.status == 0, told.text


def test_of_two_deploys_at_once_exactly_one_proceeds(shop: Shop) -> None:
    contenders = [shop.start(*shop.deploying("v3")) for _ in range(2)]

    ended = [each.communicate(timeout=240) for each in contenders]

    assert sorted(each.returncode for each in contenders) == [0, 6], ended


def test_a_deploy_mends_a_stack_that_was_broken_before(shop: Shop) -> None:
    shop.stack.docker("rm", "-f", f"{shop.stack.project}-backend-1")
    shop.stack.docker("stop", "-t", "0", f"{shop.stack.project}-redis-1")

    told = shop.deploy("v3")

    assert told.status == 0, told.text
    assert shop.ask("/health") == {"status": "ok", "release": "v3"}


def test_a_container_that_is_stopped_by_hand_while_it_is_watched_is_brought_back(
    shop: Shop,
) -> None:
    before = shop.world()
    process = shop.start(*shop.deploying("v3", watch="60s"), "--output", "jsonl")
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event.get("type") == "StepStarted" and event.get("step") == "watch":
            break
    shop.stack.docker("stop", "-t", "0", f"{shop.stack.project}-backend-1")

    process.communicate(timeout=240)

    assert process.returncode == 3
    assert shop.world() == before
    assert shop.ask("/health") == {"status": "ok", "release": "v1"}


def test_a_state_directory_without_room_is_refused_before_anything_changes(
    shop: Shop, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    before = shop.world()
    journal = (shop.state / "journal.id").read_text().strip()
    shop.runbook("abort", "--journal", journal, "--reason", "another state directory")

    with small_tmpfs(small, "size=4m"):
        told = shop.runbook("--state-dir", str(small / "state"), *shop.deploying("v3"))

    assert told.status == 7, told.text
    assert "are free" in told.text
    assert shop.world() == before
