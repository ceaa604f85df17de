"""snapshot_volume and restore_volume: what becomes of the processes that write to a directory."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import StepError
from runbook.resources import Directory, Process
from runbook.restore.point import staging_dir
from runbook.steps.restore_volume import STEP as RESTORE
from runbook.steps.restore_volume import RestoreVolume
from runbook.steps.snapshot_volume import STEP, SnapshotVolume
from runbook.tools import daemon
from runbook.tools.daemon import Running

WRITER = """
import pathlib, time
number = 0
while True:
    number += 1
    pathlib.Path("uploads/file").write_text(str(number) * 200_000)
"""


@pytest.fixture
def writer(tmp_path: Path, make_context: Any, eventually: Any) -> Iterator[Running]:
    """A process that writes to the directory `uploads` without a pause."""
    (tmp_path / "uploads").mkdir()
    process = Process(name="writer", argv=[sys.executable, "-c", WRITER], directory=tmp_path)
    place = {"state_dir": make_context().state_dir, "project": "shop"}
    running = daemon.start(process, operation="op", **place)
    assert running is not None
    eventually((tmp_path / "uploads" / "file").exists, "it writes")
    yield running
    daemon.stop(process, **place)


@pytest.fixture
def uploads(tmp_path: Path) -> Directory:
    """The directory, and who writes to it."""
    return Directory(path=tmp_path / "uploads", name="uploads", used_by=["writer"])


def writes(tmp_path: Path) -> Any:
    """Whether the writer has written again since."""
    before = (tmp_path / "uploads" / "file").stat().st_mtime_ns
    return lambda: (tmp_path / "uploads" / "file").stat().st_mtime_ns != before


def test_paused_writers_stand_still_and_go_on_before_it_reports(
    writer: Running, uploads: Directory, make_context: Any, tmp_path: Path, eventually: Any
) -> None:
    seen: list[bool] = []
    ctx = make_context(on_check=lambda: seen.append(daemon.is_paused(writer)))

    STEP.run(SnapshotVolume(volume=uploads, level="paused"), ctx)

    assert seen[-1]
    assert not daemon.is_paused(writer)
    eventually(writes(tmp_path), "it writes again")


def test_what_a_killed_snapshot_left_paused_goes_on_when_it_is_settled(
    writer: Running, uploads: Directory, make_context: Any, run_and_kill: Any, tmp_path: Path
) -> None:
    for number in range(3000):
        (tmp_path / "uploads" / f"{number}").touch()
    ctx, params = make_context(), {"volume": uploads, "level": "paused"}

    run_and_kill("snapshot_volume", ctx, params, after_s=0.15)
    was_left_paused = daemon.is_paused(writer)
    assert STEP.probe is not None
    STEP.probe(SnapshotVolume(**params), ctx)

    assert was_left_paused, "killed too early, or too late"
    assert not daemon.is_paused(writer)


def test_what_somebody_else_has_paused_stays_so(
    writer: Running, uploads: Directory, make_context: Any
) -> None:
    daemon.pause(writer)

    STEP.run(SnapshotVolume(volume=uploads, level="paused"), make_context())

    assert daemon.is_paused(writer)


def test_a_failed_snapshot_lets_its_writers_go_on(
    writer: Running, uploads: Directory, make_context: Any, full_disk: Path
) -> None:
    (uploads.path / "big").write_bytes(b"x" * 4_000_000)
    daemon_state = make_context().state_dir / "processes"
    (full_disk / "processes").symlink_to(daemon_state)

    with pytest.raises(StepError, match="no room left"):
        STEP.run(SnapshotVolume(volume=uploads, level="paused"), make_context(state_dir=full_disk))

    assert not daemon.is_paused(writer)


def test_a_writer_that_runs_is_an_error_where_it_should_be_stopped(
    writer: Running, uploads: Directory, make_context: Any
) -> None:
    ctx = make_context()

    with pytest.raises(StepError, match="`writer`") as raised:
        STEP.run(SnapshotVolume(volume=uploads, level="stopped"), ctx)

    assert raised.value.changed is False
    assert not (staging_dir(ctx.state_dir, ctx.run_id) / "volumes").exists()


def test_nothing_is_restored_under_a_writer_that_runs(
    writer: Running, uploads: Directory, shop: Any
) -> None:
    shop.uploads = uploads
    shop.back_up(level="paused")
    shop.load()

    with pytest.raises(StepError, match="`writer`") as raised:
        RESTORE.run(RestoreVolume(volume=uploads), shop.rollback_context("files"))

    assert raised.value.changed is False


def test_a_writer_that_is_no_process_is_named_by_preflight(
    uploads: Directory, make_context: Any
) -> None:
    assert STEP.preflight is not None

    (line,) = STEP.preflight(SnapshotVolume(volume=uploads, level="paused"), make_context())

    assert "`writer`" in line
