"""What goes wrong around a deploy on the real stack: a second journal, broken services, no room."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from runbook.errors import StepError
from runbook.steps import compose_up
from tests.conftest import small_tmpfs
from tests.real.conftest import MakeStack
from tests.real.shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def shop(deployed_shop: Shop) -> Shop:
    """The sample stack with its first release deployed."""
    return deployed_shop


@contextmanager
def begun(shop: Shop, step: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The program, with that step under way."""
    with shop.start(*words, "--output", "jsonl") as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["type"] == "StepStarted" and event["step"] == step:
                break
        else:
            raise AssertionError(f"it never came to `{step}`")
        yield process
        process.communicate(timeout=240)


def test_a_second_journal_only_looks_at_a_stack_until_the_first_is_given_up(shop: Shop) -> None:
    words = shop.deploying("v3")
    quick = ["--set", "duration=1s", "--set", "interval=100ms"]
    second = ["--state-dir", str(shop.stack.root / "second")]
    shop.is_spoiled = True

    refused = shop.runbook(*second, *words)
    looks = shop.runbook(*second, "run", "runbooks/verify.yaml", *quick)
    untouched = shop.world()
    journal = refused.text.partition("--journal ")[2].split()[0]
    given_up = shop.runbook("abort", "--journal", journal, "--reason", "that machine is gone")
    proceeds = shop.runbook(*second, *words)

    assert refused.status == 6, refused.text
    assert str(shop.state) in refused.text
    assert looks.status == 0, looks.text
    assert untouched == shop.start_world
    assert given_up.status == 0, given_up.text
    assert proceeds.status == 0, proceeds.text


def test_of_two_deploys_at_once_exactly_one_proceeds(shop: Shop) -> None:
    contenders = [shop.start(*shop.deploying("bad-same")) for _ in range(2)]

    ended = [each.communicate(timeout=240) for each in contenders]

    assert sorted(each.returncode for each in contenders) == [3, 6], ended
    assert shop.world() == shop.start_world


def test_a_deploy_mends_a_stack_that_was_broken_before(shop: Shop) -> None:
    shop.stack.docker("rm", "-f", f"{shop.stack.project}-backend-1")
    shop.stack.docker("stop", "-t", "0", f"{shop.stack.project}-redis-1")

    told = shop.deploy("v3")

    assert told.status == 0, told.text
    assert shop.ask("/health") == {"status": "ok", "release": "v3"}


def test_a_container_that_is_stopped_by_hand_while_it_is_watched_is_brought_back(
    shop: Shop,
) -> None:
    with begun(shop, "watch", *shop.deploying("v3", watch="120s")) as process:
        shop.stack.docker("stop", "-t", "0", f"{shop.stack.project}-backend-1")

    assert process.returncode == 3
    assert shop.world() == shop.start_world
    assert shop.ask("/health") == {"status": "ok", "release": "v1"}


def test_a_container_that_is_removed_by_hand_while_it_is_rolled_back_is_there_in_the_end(
    shop: Shop,
) -> None:
    with begun(shop, "database", *shop.deploying("bad-all")) as process:
        shop.stack.docker("rm", "-f", f"{shop.stack.project}-redis-1")

    assert process.returncode == 3
    assert shop.world() == shop.start_world


def test_a_health_test_that_cannot_be_run_is_a_health_test_that_fails(
    make_stack: MakeStack,
) -> None:
    stack = make_stack("""
        services:
          web:
            image: runbook-test/python:1
            command: [sleep, "600"]
            healthcheck: {test: [CMD, /not/there]}
    """)
    spec = compose_up.ComposeUp(stack=stack.resource, ready_within=2.0)

    with pytest.raises(StepError, match=r"not ready within .*: its health test cannot be"):
        compose_up.STEP.run(spec, stack.context())


# --- no room ----------------------------------------------------------------------------------


@pytest.fixture
def small(shop: Shop, tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB, for a state directory to which the stack is given."""
    shop.is_spoiled = True
    journal = (shop.state / "journal.id").read_text().strip()
    shop.runbook("abort", "--journal", journal, "--reason", "another state directory")
    place = tmp_path / "small"
    place.mkdir()
    with small_tmpfs(place, "size=64m"):
        yield place


def fill(place: Path, *, leaving_bytes: int = 0) -> None:
    """Take all that is free there."""
    with (place / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
        for block in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while ballast.write(bytes(block)) == block:
                    pass
    if leaving_bytes:
        with (place / "ballast").open("r+b") as ballast:
            ballast.truncate((place / "ballast").stat().st_size - leaving_bytes)


def test_a_state_directory_without_room_is_refused_before_anything_changes(
    shop: Shop, small: Path
) -> None:
    fill(small, leaving_bytes=4 << 20)

    told = shop.runbook("--state-dir", str(small / "state"), *shop.deploying("v3"))

    assert told.status == 7, told.text
    assert "are free" in told.text
    assert shop.world() == shop.start_world


def test_a_disk_that_fills_up_during_backup_and_restore_costs_time_and_nothing_else(
    shop: Shop, small: Path
) -> None:
    shop.sql("CREATE TABLE large AS SELECT n, md5(n::text) FROM generate_series(1, 300000) n")
    before = shop.world()
    state = ["--state-dir", str(small / "state")]
    deploying = [*state, *shop.deploying("bad-all")]

    with begun(shop, "dump", *deploying) as backing_up:
        fill(small)
    untouched = shop.world()
    (small / "ballast").unlink()
    with begun(shop, "stop", *state, "resume") as restoring:
        fill(small)
    (small / "ballast").unlink()
    told = shop.runbook(*state, "resume")

    assert backing_up.returncode not in (0, 3)
    assert untouched == before
    assert restoring.returncode not in (0, 3)
    assert told.status == 3, told.text
    assert shop.world() == before
