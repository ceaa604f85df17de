"""The plain watcher: appended lines, a heartbeat, and never a cursor code."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from runbook.cli.answers import Answers
from runbook.cli.plain import PlainWatcher
from runbook.core.events import Machine, RunStarted, StepStarted
from runbook.core.plan import Effect, Plan, PlannedStep, Rerun

AT = datetime(2026, 11, 23, 4, 40, 2, tzinfo=UTC)
PLAN = Plan(
    runbook="deploy",
    lock="shop",
    steps=(
        PlannedStep(id="watch", kind="monitor", effect=Effect.READS, rerun=Rerun.SAFE, timeout_s=9),
    ),
)


class Room:
    """A watcher with a clock that stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.lines: list[str] = []
        self.watcher = PlainWatcher(
            say=self.lines.append,
            answers=Answers(user="dana", is_interactive=False),
            clock=lambda: self.now_s,
            now=lambda: AT,
        )
        started = RunStarted(
            at=AT, run_id="run", plan=PLAN, by="dana", machine=Machine(host="h", boot_id="b")
        )
        self.watcher.saw("run", PLAN, 0, [started])
        self.watcher.saw("run", PLAN, 1, [StepStarted(at=AT, step="watch", attempt=1)])
        self.lines.clear()

    def at(self, now_s: float) -> list[str]:
        """What is printed by the heartbeat of that moment."""
        self.now_s = now_s
        self.lines.clear()
        self.watcher.beat()
        return list(self.lines)


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.watcher.close()


def test_a_silent_step_gives_a_sign_of_life_every_30_s(room: Room) -> None:
    assert room.at(29) == []
    assert room.at(30) == ["04:40:02Z watch | still running, 30s"]
    assert room.at(59) == []
    assert room.at(60) == ["04:40:02Z watch | still running, 1m00s"]


def test_what_a_step_shows_is_printed_at_most_every_10_s(room: Room) -> None:
    room.watcher.show("watch", "1 of 9")
    room.now_s = 4
    room.watcher.show("watch", "2 of 9")

    assert room.lines == ["04:40:02Z watch | 1 of 9"]
    assert room.at(9) == []
    assert room.at(10) == ["04:40:02Z watch | 2 of 9"]


def test_the_first_failure_of_a_monitor_is_printed_at_once(room: Room) -> None:
    for second, consecutive in enumerate((0, 0, 1, 2, 0)):
        room.now_s = second
        room.watcher.show("watch", f"Checks: {second} | Consecutive: {consecutive}")

    assert [line[-1] for line in room.lines] == ["0", "1", "0"]


def test_nothing_is_ever_rewritten(room: Room) -> None:
    room.watcher.show("watch", "1 of 9")
    room.watcher.notice("a notice")

    assert all("\r" not in line and "\x1b" not in line for line in room.lines)
