"""The contract of every journal, and what SQLite's owes beyond it."""

import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from runbook.core.events import (
    Event,
    Machine,
    Outcome,
    RunFinished,
    RunResumed,
    RunStarted,
    StepStarted,
    StepSucceeded,
    Trigger,
    Undone,
)
from runbook.core.journal import Batch, Journal, RunFilter
from runbook.core.plan import Plan
from runbook.errors import JournalConflict, JournalUnreadable, JournalUnwritable
from runbook.stores.memory import MemoryJournal
from runbook.stores.sqlite import SqliteJournal, journal_mode_of
from tests.conftest import small_tmpfs

AT = datetime(2026, 11, 23, 4, 40, 3, 5, tzinfo=UTC)
MACHINE = Machine(host="h", boot_id="b")


def started(run_id: str, *, lock: str = "shop", undoes: str | None = None) -> RunStarted:
    return RunStarted(
        at=AT,
        run_id=run_id,
        plan=Plan(runbook="deploy", lock=lock, steps=()),
        by="anna",
        machine=MACHINE,
        trigger=Trigger.OPERATOR,
        undone=Undone(run_id=undoes, steps={}) if undoes else None,
    )


def step_started(attempt: int) -> StepStarted:
    return StepStarted(at=AT + timedelta(seconds=attempt), step="s", attempt=attempt)


def finished(outcome: Outcome) -> RunFinished:
    return RunFinished(at=AT + timedelta(hours=1), outcome=outcome)


def batch(run_id: str, expected_seq: int, *events: Event) -> Batch:
    ids = tuple(uuid4().hex for _ in events)
    return Batch(run_id=run_id, expected_seq=expected_seq, events=events, ids=ids)


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    is_memory = request.param == "memory"
    journal = MemoryJournal() if is_memory else SqliteJournal.open(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


# --- every journal --------------------------------------------------------------------------


def test_events_are_read_as_they_were_appended_in_order(journal: Journal) -> None:
    events: list[Event] = [started("r1")]
    events += [step_started(number) for number in range(1, 12)]

    for seq, event in enumerate(events):
        journal.append([batch("r1", seq, event)])

    assert journal.read("r1") == events


def test_a_run_that_is_not_there_has_no_events(journal: Journal) -> None:
    assert journal.read("r1") == []


def test_the_second_writer_of_a_place_is_refused(journal: Journal) -> None:
    journal.append([batch("r1", 0, started("r1"))])
    journal.append([batch("r1", 1, step_started(1))])

    with pytest.raises(JournalConflict, match="`r1`"):
        journal.append([batch("r1", 1, step_started(2))])

    assert journal.read("r1") == [started("r1"), step_started(1)]


def test_a_writer_that_has_skipped_a_place_is_refused(journal: Journal) -> None:
    journal.append([batch("r1", 0, started("r1"))])

    with pytest.raises(JournalConflict):
        journal.append([batch("r1", 2, step_started(1))])


def test_a_batch_whose_answer_was_lost_may_be_appended_again(journal: Journal) -> None:
    batches = [
        batch("r1", 0, started("r1"), step_started(1)),
        batch("r2", 0, started("r2")),
    ]
    journal.append(batches)
    journal.append([batch("r1", 2, step_started(2))])

    journal.append(batches)

    assert len(journal.read("r1")) == 3
    assert len(journal.read("r2")) == 1


def test_the_same_events_under_other_ids_are_a_conflict(journal: Journal) -> None:
    journal.append([batch("r1", 0, started("r1"))])

    with pytest.raises(JournalConflict):
        journal.append([batch("r1", 0, started("r1"))])


def test_of_two_runs_both_are_appended_or_none(journal: Journal) -> None:
    journal.append([batch("r1", 0, started("r1"))])
    handed_over = batch("r1", 1, finished(Outcome.HANDED_OVER))
    journal.append([batch("r2", 0, started("r2"))])

    with pytest.raises(JournalConflict):
        journal.append([handed_over, batch("r2", 0, started("r2", undoes="r1"))])

    assert journal.read("r1") == [started("r1")]


def test_a_recorded_run_beside_one_that_is_not_is_a_conflict(journal: Journal) -> None:
    first = batch("r1", 0, started("r1"))
    journal.append([first])

    with pytest.raises(JournalConflict):
        journal.append([first, batch("r2", 0, started("r2"))])

    assert journal.read("r2") == []


def test_runs_are_listed_newest_first_with_their_facts(journal: Journal) -> None:
    journal.append([batch("r1", 0, started("r1"), finished(Outcome.HANDED_OVER))])
    journal.append([batch("r2", 0, started("r2", undoes="r1"), step_started(3))])

    newest, oldest = journal.runs(RunFilter())

    assert (newest.run_id, newest.undoes, newest.outcome) == ("r2", "r1", None)
    assert (newest.started_at, newest.last_at) == (AT, AT + timedelta(seconds=3))
    assert (oldest.run_id, oldest.lock, oldest.runbook) == ("r1", "shop", "deploy")
    assert oldest.outcome is Outcome.HANDED_OVER


def test_a_resumed_run_has_no_outcome_until_it_ends_again(journal: Journal) -> None:
    resumed = RunResumed(at=AT, by="anna", machine=MACHINE)
    journal.append([batch("r1", 0, started("r1"), finished(Outcome.FAILED), resumed)])

    (summary,) = journal.runs(RunFilter())

    assert summary.outcome is None


def test_runs_are_filtered(journal: Journal) -> None:
    journal.append([batch("r1", 0, started("r1"), finished(Outcome.SUCCEEDED))])
    journal.append([batch("r2", 0, started("r2", undoes="r1"), finished(Outcome.FAILED))])
    journal.append([batch("r3", 0, started("r3", lock="other"))])

    def found(run_filter: RunFilter) -> list[str]:
        return [summary.run_id for summary in journal.runs(run_filter)]

    assert found(RunFilter(lock="shop")) == ["r2", "r1"]
    assert found(RunFilter(is_unfinished=True)) == ["r3", "r2"]
    assert found(RunFilter(is_unfinished=False)) == ["r1"]
    assert found(RunFilter(undoes="r1")) == ["r2"]
    assert found(RunFilter(limit=1)) == ["r3"]
    assert found(RunFilter(lock="shop", is_unfinished=True, limit=5)) == ["r2"]


def test_a_prefix_names_every_run_that_begins_so(journal: Journal) -> None:
    for run_id in ("deploy-1", "deploy-12", "back_up-1"):
        journal.append([batch(run_id, 0, started(run_id))])

    assert journal.resolve("back") == ["back_up-1"]
    assert journal.resolve("deploy-") == ["deploy-12", "deploy-1"]
    assert journal.resolve("deploy-1") == ["deploy-1"]
    assert journal.resolve("back%") == []


# --- SQLite's -------------------------------------------------------------------------------


def test_the_file_is_private_and_its_settings_are_in_force(path: Path) -> None:
    journal = SqliteJournal.open(path)
    journal.append([batch("r1", 0, started("r1"))])

    connection = journal._connection
    found = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "journal_mode", "busy_timeout", "trusted_schema")
    }
    modes = {file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    journal.close()

    expected_mode = journal_mode_of(sqlite3.sqlite_version_info)
    assert found == {
        "synchronous": 2,
        "journal_mode": expected_mode,
        "busy_timeout": 10_000,
        "trusted_schema": 0,
    }
    assert modes == {0o600}


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "persist"),
        ((3, 44, 5), "persist"),
        ((3, 44, 6), "wal"),
        ((3, 45, 0), "persist"),
        ((3, 50, 7), "wal"),
        ((3, 51, 2), "persist"),
        ((3, 51, 3), "wal"),
        ((3, 52, 0), "wal"),
    ],
)
def test_wal_is_used_only_where_its_reset_bug_is_mended(
    version: tuple[int, int, int], mode: str
) -> None:
    assert journal_mode_of(version) == mode


def test_events_and_runs_are_append_only_for_everybody(path: Path) -> None:
    journal = SqliteJournal.open(path)
    journal.append([batch("r1", 0, started("r1"))])
    statements = ["UPDATE event SET body = '{}'", "DELETE FROM event", "DELETE FROM run"]

    for statement in statements:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            journal._connection.execute(statement)

    journal.close()


def test_a_reader_sees_what_is_there_and_cannot_write(path: Path) -> None:
    writer = SqliteJournal.open(path)
    writer.append([batch("r1", 0, started("r1"))])
    reader = SqliteJournal.open(path, is_read_only=True)

    seen = reader.read("r1")
    with pytest.raises(JournalUnwritable):
        reader.append([batch("r1", 1, step_started(1))])

    assert seen == [started("r1")]
    reader.close()
    writer.close()


def test_a_journal_of_a_newer_program_names_it(path: Path) -> None:
    journal = SqliteJournal.open(path)
    journal._connection.execute("INSERT INTO format VALUES (99, '9.8.7')")
    journal._connection.execute("PRAGMA user_version = 99")
    journal.close()

    with pytest.raises(JournalUnreadable, match="format 99") as caught:
        SqliteJournal.open(path)

    assert caught.value.hint == "use runbook 9.8.7 or newer"


def test_what_is_no_journal_is_unreadable(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)

    with pytest.raises(JournalUnreadable, match=r"journal\.db"):
        SqliteJournal.open(path)


def test_a_damaged_event_is_unreadable(path: Path) -> None:
    journal = SqliteJournal.open(path)
    journal.append([batch("r1", 0, started("r1"))])
    row = ("r1", 1, "id", "StepMoved", '{"kind": "StepMoved", "v": 1}')
    journal._connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?)", row)

    with pytest.raises(JournalUnreadable, match="StepMoved"):
        journal.read("r1")

    journal.close()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalUnwritable, match="absent"):
        SqliteJournal.open(tmp_path / "absent" / "journal.db")


RACER = """
    import sys
    from datetime import UTC, datetime
    from pathlib import Path
    from uuid import uuid4
    from runbook.core.events import Machine, RunStarted, StepStarted
    from runbook.core.journal import Batch
    from runbook.core.plan import Plan
    from runbook.errors import JournalConflict
    from runbook.stores.sqlite import SqliteJournal

    path, run_id, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    journal, at = SqliteJournal.open(path), datetime.now(UTC)
    first = RunStarted(
        at=at, run_id=run_id, plan=Plan(runbook="r", lock="l", steps=()), by="me",
        machine=Machine(host="h", boot_id="b"))
    written = 0
    while written < count:
        seq = len(journal.read(run_id))
        event = StepStarted(at=at, step="s", attempt=seq) if seq else first
        batch = Batch(run_id=run_id, expected_seq=seq, events=(event,), ids=(uuid4().hex,))
        try:
            journal.append([batch])
        except JournalConflict:
            continue
        written += 1
        print(seq, flush=True)
"""


def racer(path: Path, run_id: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RACER), str(path), run_id, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_eight_racing_processes_never_write_the_same_place(path: Path) -> None:
    racers = [racer(path, "r1", 10) for _ in range(8)]

    printed = [process.communicate(timeout=60)[0].split() for process in racers]

    assert [process.returncode for process in racers] == [0] * 8
    assert sorted(int(seq) for seqs in printed for seq in seqs) == list(range(80))
    journal = SqliteJournal.open(path, is_read_only=True)
    assert len(journal.read("r1")) == 80
    journal.close()


def test_a_killed_writer_leaves_all_that_it_was_told_is_recorded(path: Path) -> None:
    for round_number in range(5):
        process = racer(path, f"r{round_number}", 10_000)
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(5 + 7 * round_number)]
        process.kill()
        acknowledged += [int(line) for line in process.communicate()[0].split()]

        reader = SqliteJournal.open(path, is_read_only=True)
        events = reader.read(f"r{round_number}")
        (integrity,) = reader._connection.execute("PRAGMA integrity_check").fetchone()
        reader.close()

        assert process.returncode == -signal.SIGKILL
        assert len(events) - len(acknowledged) in {0, 1}
        assert [e.attempt for e in events[1:] if isinstance(e, StepStarted)] == list(
            range(1, len(events))
        )
        assert integrity == "ok"


def test_a_full_disk_is_a_clear_error_and_the_journal_reads_afterwards(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_tmpfs(disk, "size=256k"):
        journal = SqliteJournal.open(disk / "journal.db")
        journal.append([batch("r1", 0, started("r1"))])
        outputs = {"text": "x" * 20_000}
        fat = StepSucceeded(at=AT, step="s", attempt=1, outputs=dict(outputs), changed=True)

        with pytest.raises(JournalUnwritable) as caught:
            for seq in range(1, 100):
                journal.append([batch("r1", seq, fat)])

        recorded = journal.read("r1")
        journal.close()
        assert f"the file system at `{disk}` is full" in caught.value.message
        assert caught.value.hint == "make room, then `runbook resume`"
        assert recorded[0] == started("r1")
        assert 1 < len(recorded) < 100
