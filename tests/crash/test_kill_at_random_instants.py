"""kill -9 at random instants: of the interpreter alone and of its group, also twice."""

import os
from collections.abc import Sequence
from random import Random

import pytest

from tests.crash.arena import LANES, Arena, Driven, on_every_lane
from tests.crash.scenarios import SCENARIOS, Scenario

RUNS = int(os.environ.get("RUNBOOK_CRASH_RUNS", "200"))
SEED = int(os.environ.get("RUNBOOK_CRASH_SEED", "20261124"))
PARTS = 5
"""So that the runs are spread over the workers."""
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_any_instant_it_ends_as_if_undisturbed(
    arenas: Sequence[Arena], scenario: Scenario, part: int
) -> None:
    def kill_some(arena: Arena, lane: int) -> None:
        first = (SCENARIOS.index(scenario) * PARTS + part) * LANES + lane
        for number in range(first, RUNS, len(SCENARIOS) * PARTS * LANES):
            kill_at_random(arena, scenario, number)

    on_every_lane(arenas, kill_some)


def kill_at_random(arena: Arena, scenario: Scenario, number: int) -> None:
    """One run, killed once, or, every third, twice."""
    random = Random(f"{SEED}/{number}")
    lasts_s = arena.course_of(scenario).lasts_s
    first, second = random.uniform(0, lasts_s), random.uniform(0, lasts_s)
    is_group_killed, is_killed_twice = bool(number % 2), number // 2 % 3 == 0

    def kill_again(resumed: Driven) -> None:
        resumed.kill_after(second, whole_group=is_group_killed)

    with arena.trial(scenario) as trial:
        trial.about = (
            f"RUNBOOK_CRASH_SEED={SEED}, run {number}: killed after {first:.3f} s"
            f"{' and again' if is_killed_twice else ''}, group {is_group_killed}"
        )
        driven = arena.drive(scenario)
        driven.kill_after(first, whole_group=is_group_killed)
        driven.wait()
        trial.resume_to_the_end(killed_again=kill_again if is_killed_twice else None)
