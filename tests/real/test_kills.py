"""kill -9 in the middle of every step of the shipped runbooks, on the real stack, then resume.

One run is killed in each of its steps, twice: when the step begins, and a while into its second
attempt. Each time it is resumed, and its end must be that of a run which nobody disturbs. Which
steps there are is read from the runbooks.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.real.shop import RUNBOOKS, Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]


DELAYS_S = (0.0, 0.3)
"""How long after the beginning of a step's first and second attempt it is killed."""
QUICK = {"commit", "checkout", "point", "sure", "stage", "files", "images", "code", "verify"}
"""Steps that may have ended by the time that the kill reaches them."""


@pytest.fixture
def shop(deployed_shop: Shop) -> Shop:
    """The sample stack with its first release deployed."""
    return deployed_shop


def steps_of(name: str) -> set[str]:
    """All steps of a shipped runbook, as `runbook.step`."""
    steps = yaml.safe_load((RUNBOOKS / f"{name}.yaml").read_text())["steps"]
    return {f"{name}.{step}" for step in _ids(steps)}


def _ids(steps: list[Any]) -> Iterator[str]:
    for step in steps:
        if "id" in step:
            yield step["id"]
        yield from _ids(step.get("steps", []))
        yield from _ids(step.get("parallel", []))


def _step(event: Mapping[str, Any]) -> str:
    return f"{event['run'].partition('-')[0]}.{event['step']}"


class Killer:
    """Drives a run through kills to its end."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.kills: Counter[str] = Counter()
        """By step, how often it was begun and killed."""
        self.was_in: set[str] = set()
        """Steps that were certainly under way when they were killed."""
        self.said = ""

    def drive(self, *words: str) -> list[str]:
        """Start the program and resume it, until it ends; how all runs have ended."""
        arguments = list(words)
        while (status := self._go(arguments)) in (-signal.SIGKILL, 5):
            arguments = ["resume"]
            if status == 5:  # a person is asked what became of the migration
                arguments += ["--answer", "migrate=again", "--reason", "it was killed"]
        assert status in (0, 3), self.said  # 0, too, where the last kill found it ended already
        return self.shop.history()

    def _go(self, words: list[str]) -> int:
        with self.shop.start(*words, "--output", "jsonl") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            events = map(json.loads, process.stdout)
            for event in events:
                if event["type"] == "StepStarted" and self.kills[_step(event)] < len(DELAYS_S):
                    self._kill(process.pid, _step(event), events)
            self.said = process.stderr.read()
        assert "Traceback" not in self.said, self.said
        return process.returncode

    def _kill(self, pid: int, step: str, events: Iterator[Mapping[str, Any]]) -> None:
        time.sleep(DELAYS_S[self.kills[step]])
        self.kills[step] += 1
        os.killpg(pid, signal.SIGKILL)
        ended = {_step(event) for event in events if event["type"] == "StepSucceeded"}
        if step not in ended:
            self.was_in.add(step)


def test_a_deploy_that_goes_bad_killed_in_every_step_leaves_all_as_it_was(shop: Shop) -> None:
    killer = Killer(shop)

    ends = killer.drive(*shop.deploying("bad-all"))

    assert ends == ["succeeded", "rolled back", "succeeded"]
    assert shop.world() == shop.start_world
    assert shop.ask("/items") == {"count": 1, "newest": "one", "content": "content of one"}
    not_reached = {
        *("deploy.verify", "deploy.watch", "deploy.watch_frontend"),
        *("rollback.build", "rollback.all_stopped"),
    }
    killed_in_every(killer, (steps_of("deploy") | steps_of("rollback")) - not_reached)


def test_a_deploy_and_a_rollback_by_hand_killed_in_every_step_succeed(shop: Shop) -> None:
    back = ["rollback", "--set", "data=restore", "--set", "confirm=yes", "--set", "build=yes"]
    shop.deployed("v2")
    wanted = shop.world()
    told = shop.runbook(*back)
    deploying, rolling_back = Killer(shop), Killer(shop)

    deployed = deploying.drive(*shop.deploying("v2"))
    world = shop.world()
    rolled_back = rolling_back.drive(*back)

    assert told.status == 0, told.text
    assert deployed[-1] == "succeeded"
    assert world == wanted
    assert rolled_back[-1] == "succeeded"
    assert shop.world() == shop.start_world
    killed_in_every(deploying, steps_of("deploy"))
    not_needed = {"rollback.images", "rollback.all_stopped"}
    killed_in_every(rolling_back, steps_of("rollback") - not_needed)


def killed_in_every(killer: Killer, steps: set[str]) -> None:
    """Each step was killed, and all but the quickest certainly before their end."""
    assert set(killer.kills) == steps
    assert {step.partition(".")[2] for step in steps - killer.was_in} <= QUICK
