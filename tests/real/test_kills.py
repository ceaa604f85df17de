"""kill -9 in the middle of every step of the shipped runbooks, on the real stack, then resume.

The bad release migrates the database and then never answers, so that each deploy of it takes the
whole way there and back, data included. It is killed in one of its steps, of the deploy or of the
rollback, and resumed: the world must be what it was before.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import Eventually
from tests.real.conftest import MakeStack
from tests.real.shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]

DEPLOY = [
    *("preflight", "dump", "data", "images", "restore_point", "checkout", "build", "stores"),
    *("migrate", "release"),
]
ROLLBACK = ["point", "stage", "stop", "files", "database", "code", "start", "verify"]
LANES = 4


@pytest.fixture
def shop(make_stack: MakeStack) -> Iterator[Shop]:
    """The sample stack with the first release deployed, a row and an object in it."""
    made = Shop(stack=make_stack(""))
    made.make()
    made.deployed("v1")
    made.order("one")
    yield made
    made.remove()


def kill_in(shop: Shop, step: str, words: list[str]) -> bool:
    """Start the program, and kill its whole group while that step is under way; false: it ended."""
    process = shop.start(*words, "--output", "jsonl")
    assert process.stdout is not None
    is_in = threading.Event()

    def watch() -> None:
        for line in process.stdout or ():
            event = json.loads(line)
            if event.get("type") == "StepStarted" and event.get("step") == step:
                is_in.set()

    reader = threading.Thread(target=watch)
    reader.start()
    while not is_in.wait(0.01):
        if process.poll() is not None:
            reader.join()
            return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reader.join()
    if process.stderr:
        process.stderr.close()
    process.stdout.close()
    return True


@pytest.mark.parametrize("lane", range(LANES))
def test_a_deploy_and_its_rollback_killed_in_every_step_end_where_undisturbed_ones_do(
    shop: Shop, lane: int, eventually: Eventually
) -> None:
    before = shop.world()
    steps = [*((name, "deploy") for name in DEPLOY), *((name, "rollback") for name in ROLLBACK)]
    for name, runbook in steps[lane::LANES]:
        was_killed = kill_in(shop, name, shop.deploying("bad-all", watch="20s"))
        assert was_killed, f"{runbook} never came to `{name}`"
        told = shop.runbook("resume")
        if told.status == 5:  # a person is asked what became of the migration
            told = shop.runbook("resume", "--answer", f"{name}=again", "--reason", "it was killed")
        assert told.status == 3, f"killed in `{name}` of {runbook}: {told.text}"
        assert shop.world() == before, f"killed in `{name}` of {runbook}"
