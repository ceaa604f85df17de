"""What a step costs in the journal: two appends, beside two bare durable SQLite commits.

Both take turns in one run, so that whatever else the machine does falls on both. The goal is a
ratio of at most 1.3. Type `python -m benchmarks.journal.bench`.
"""

import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import uuid4

from runbook.core.events import Event, Machine, RunStarted, StepStarted, StepSucceeded
from runbook.core.journal import Batch
from runbook.core.plan import Plan
from runbook.stores.sqlite import SqliteJournal, journal_mode_of

ROUNDS = 300
AT = datetime(2026, 11, 23, tzinfo=UTC)


def journal_step(path: Path) -> Callable[[], None]:
    """Two appends: a step's start and its end."""
    journal = SqliteJournal.open(path)
    started = RunStarted(
        at=AT,
        run_id="r",
        plan=Plan(runbook="deploy", lock="shop", steps=()),
        by="anna",
        machine=Machine(host="h", boot_id="b"),
    )
    seqs = count()

    def append(event: Event) -> None:
        batch = Batch(run_id="r", expected_seq=next(seqs), events=(event,), ids=(uuid4().hex,))
        journal.append([batch])

    append(started)

    def step() -> None:
        append(StepStarted(at=AT, step="dump", attempt=1))
        append(
            StepSucceeded(at=AT, step="dump", attempt=1, outputs={"path": "db.dump"}, changed=True)
        )

    return step


def bare_step(path: Path) -> Callable[[], None]:
    """Two commits of one row each, as durable, and nothing besides."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_mode = {journal_mode_of(sqlite3.sqlite_version_info)}")
    connection.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, body TEXT)")
    body = "x" * 200  # what an event takes with its id

    def step() -> None:
        for _ in range(2):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO event (body) VALUES (?)", (body,))
            connection.execute("COMMIT")

    return step


def main(directory: Path) -> None:
    """Print both medians and their ratio."""
    steps = {
        "journal": journal_step(directory / "journal.db"),
        "bare": bare_step(directory / "bare.db"),
    }
    taken_ms: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS):
        for name, step in sorted(steps.items(), reverse=number % 2 == 1):
            began = time.perf_counter()
            step()
            taken_ms[name].append((time.perf_counter() - began) * 1000)
    medians = {name: statistics.median(taken) for name, taken in taken_ms.items()}
    for name, median in medians.items():
        print(f"{name:8} {median:.2f} ms a step (median of {ROUNDS})")
    print(f"ratio    {medians['journal'] / medians['bare']:.2f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        main(Path(made))
