"""People go on using the shop while it is deployed, killed, resumed and rolled back."""

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from tests.crash.arena import LANES, Arena, on_every_lane, write
from tests.crash.scenarios import BAD_DEPLOY, DEPLOY, ROLLBACK, Scenario
from tests.crash.world import (
    Workspace,
    kept_databases,
    leftovers_of,
    release_of,
    repeated_steps,
    runs_of,
)

SEED = int(os.environ.get("RUNBOOK_CRASH_SEED", "20261124"))
PARTS = 3
"""Times `LANES`: how often each is tried."""
KEEPING = replace(
    ROLLBACK, name="rollback by hand, keeping data", given={"data": "keep", "confirm": "true"}
)
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", range(PARTS))
def test_after_a_rollback_that_keeps_data_all_that_was_written_is_live(
    arenas: Sequence[Arena], part: int
) -> None:
    def deploy_and_go_back(arena: Arena, lane: int) -> None:
        lasts_s, back_s = arena.course_of(DEPLOY).lasts_s, arena.course_of(ROLLBACK).lasts_s
        with arena.trial(DEPLOY) as trial:
            random = Random(f"{SEED}/keep/{part * LANES + lane}")
            trial.about = f"RUNBOOK_CRASH_SEED={SEED}, keep {part * LANES + lane}"
            with writing(arena.workspace) as writer:
                kill_and_resume(arena, DEPLOY, lasts_s, random)
                kill_and_resume(arena, KEEPING, back_s, random)

            assert writer.acknowledged
            assert lost_rows(writer, [arena.workspace.database]) == set()
            assert lost_files(writer, arena.workspace.uploads) == set()
            assert_settled(arena)

    on_every_lane(arenas, deploy_and_go_back)


@pytest.mark.parametrize("part", range(PARTS))
def test_after_a_rollback_that_restores_data_all_that_was_written_is_live_or_kept(
    arenas: Sequence[Arena], part: int
) -> None:
    def deploy_and_go_back(arena: Arena, lane: int) -> None:
        lasts_s, back_s = arena.course_of(DEPLOY).lasts_s, arena.course_of(ROLLBACK).lasts_s
        with arena.trial(DEPLOY) as trial:
            random = Random(f"{SEED}/restore/{part * LANES + lane}")
            trial.about = f"RUNBOOK_CRASH_SEED={SEED}, restore {part * LANES + lane}"
            with writing(arena.workspace) as writer:
                kill_and_resume(arena, DEPLOY, lasts_s, random)
                kill_and_resume(arena, ROLLBACK, back_s, random)

            assert_nothing_is_gone(arena.workspace, writer)
            assert_settled(arena)

    on_every_lane(arenas, deploy_and_go_back)


@pytest.mark.parametrize("part", range(PARTS))
def test_after_a_deploy_that_rolls_itself_back_all_that_was_written_is_live_or_kept(
    arenas: Sequence[Arena], part: int
) -> None:
    def deploy(arena: Arena, lane: int) -> None:
        lasts_s = arena.course_of(BAD_DEPLOY).lasts_s
        with arena.trial(BAD_DEPLOY) as trial:
            random = Random(f"{SEED}/bad/{part * LANES + lane}")
            trial.about = f"RUNBOOK_CRASH_SEED={SEED}, bad {part * LANES + lane}"
            with writing(arena.workspace) as writer:
                kill_and_resume(arena, BAD_DEPLOY, lasts_s, random)

            assert_nothing_is_gone(arena.workspace, writer)
            assert_settled(arena)

    on_every_lane(arenas, deploy)


# --- people who use the shop ----------------------------------------------------------------


@dataclass
class Writer:
    """Somebody who orders without pause, and remembers what the shop has acknowledged."""

    workspace: Workspace
    acknowledged: set[str] = field(default_factory=set)
    is_over: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        number = 0
        while not self.is_over.wait(0.01):
            number += 1
            name = f"order-{number}"
            if write(self.workspace, name):
                self.acknowledged.add(name)


@contextmanager
def writing(workspace: Workspace) -> Iterator[Writer]:
    """Have somebody order meanwhile."""
    writer = Writer(workspace)
    thread = threading.Thread(target=writer.go_on)
    thread.start()
    try:
        yield writer
    finally:
        writer.is_over.set()
        thread.join()


def kill_and_resume(arena: Arena, scenario: Scenario, lasts_s: float, random: Random) -> None:
    """Kill the command somewhere, and resume; one that was killed unborn is typed again."""
    runs_before = len(runs_of(arena.workspace))
    driven = arena.drive(scenario)
    driven.kill_after(random.uniform(0, lasts_s), whole_group=random.random() < 0.5)
    status = driven.wait()
    if status == -signal.SIGKILL:
        status = arena.resume().wait()
    if len(runs_of(arena.workspace)) == runs_before:
        status = arena.drive(scenario).wait()
    # Killed after its last write, it leaves nothing to resume.
    assert status in (0, scenario.exit_status)


# --- where it is to be found ----------------------------------------------------------------


def assert_nothing_is_gone(workspace: Workspace, writer: Writer) -> None:
    """Every acknowledged row and file is live, or among what a restore has kept aside."""
    kept = [path for path in kept_databases(workspace) if not path.name.endswith(("-wal", "-shm"))]
    assert lost_rows(writer, [workspace.database]), "nothing was written after the backup"
    assert lost_rows(writer, [workspace.database, *kept]) == set()
    assert lost_files(writer, workspace.uploads, workspace.state_dir / "replaced") == set()


def lost_rows(writer: Writer, databases: Sequence[Path]) -> set[str]:
    found: set[str] = set()
    for path in databases:
        with closing(sqlite3.connect(path)) as connection:
            found.update(name for (name,) in connection.execute("SELECT name FROM items"))
    return writer.acknowledged - found


def lost_files(writer: Writer, *directories: Path) -> set[str]:
    files = [path for directory in directories for path in directory.rglob("order-*.txt")]
    return writer.acknowledged - {path.stem for path in files if path.read_text() == path.stem}


def assert_settled(arena: Arena) -> None:
    """The first release serves again, and nothing is left over or unfinished."""
    arena.await_one_server()
    assert release_of(arena.workspace) == "v1"
    assert [repeated_steps(run) for run in runs_of(arena.workspace) if repeated_steps(run)] == []
    assert leftovers_of(arena.workspace) == []
    assert arena.unfinished() == []
