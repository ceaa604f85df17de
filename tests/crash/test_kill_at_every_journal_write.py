"""kill -9 at every single write of the journal, just before it and just after it is durable."""

import signal
from collections.abc import Sequence
from typing import Literal

import pytest

from tests.crash.arena import LANES, Arena, on_every_lane
from tests.crash.scenarios import SCENARIOS, Scenario

PARTS = 4
"""So that the writes are spread over the workers."""
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_any_journal_write_it_ends_as_if_undisturbed(
    arenas: Sequence[Arena], scenario: Scenario, moment: Literal["before", "after"], part: int
) -> None:
    def kill_at_every_so_many(arena: Arena, lane: int) -> None:
        arena.course_of(scenario)
        write = 1 + part * LANES + lane
        while is_killed_at(arena, scenario, write, moment):
            write += PARTS * LANES
        assert write > 3 * PARTS * LANES, "a run has more writes than that"

    on_every_lane(arenas, kill_at_every_so_many)


def is_killed_at(
    arena: Arena, scenario: Scenario, write: int, moment: Literal["before", "after"]
) -> bool:
    """Try it, unless the run has fewer writes."""
    with arena.trial(scenario) as trial:
        trial.about = f"killed {moment} write {write} of {scenario.name}"
        ended = arena.drive(scenario, dies_at=write, moment=moment).wait()
        if ended == scenario.exit_status:
            return False
        assert ended == -signal.SIGKILL
        trial.resume_to_the_end()
    return True
