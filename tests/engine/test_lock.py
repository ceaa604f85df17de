"""The lock: one process at a time, gone with it, and it says whose it is."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runbook.engine.lock import Owner, acquire, read_owner
from runbook.errors import JournalUnwritable, LockHeld

HOLDER = """
    import sys
    from pathlib import Path
    from runbook.engine.lock import Owner, acquire

    owner = Owner.this_process(user="anna", run_id="deploy-1")
    lock = acquire(Path(sys.argv[1]), sys.argv[2], owner)
    lock.update("deploy-1", "dump")
    print("held", flush=True)
    sys.stdin.read()
"""


def an_owner(run_id: str = "deploy-2") -> Owner:
    return Owner.this_process(user="ben", run_id=run_id)


@contextmanager
def holder(state_dir: Path, name: str = "shop") -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock."""
    program = [sys.executable, "-c", textwrap.dedent(HOLDER), str(state_dir), name]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_that_is_held_is_refused_and_names_its_owner(tmp_path: Path) -> None:
    with holder(tmp_path) as process, pytest.raises(LockHeld) as caught:
        acquire(tmp_path, "shop", an_owner())

    assert f"process {process.pid} (alive), run `deploy-1`, step `dump`" in caught.value.message
    assert "anna@" in caught.value.message
    assert caught.value.hint == "runbook status deploy-1"


def test_another_name_is_another_lock(tmp_path: Path) -> None:
    with holder(tmp_path):
        lock = acquire(tmp_path, "blog", an_owner())

    lock.release()
    assert (read := read_owner(tmp_path, "blog")) is not None
    assert read.user == "ben"


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        before = read_owner(tmp_path, "shop")

        lock = acquire(tmp_path, "shop", an_owner())

    assert before is not None
    assert (before.is_alive, before.step) == (False, "dump")
    assert "(dead)" in str(before)
    lock.release()


def test_a_child_of_the_holder_does_not_hold_the_lock(tmp_path: Path) -> None:
    lock = acquire(tmp_path, "shop", an_owner())
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        lock.release()

        owner = read_owner(tmp_path, "shop")

    assert owner is not None
    assert not owner.is_alive


def test_the_owner_says_what_it_is_doing(tmp_path: Path) -> None:
    lock = acquire(tmp_path, "shop", an_owner())
    lock.update("rollback-1", "restore")

    owner = read_owner(tmp_path, "shop")

    assert owner is not None
    assert (owner.pid, owner.run_id, owner.step) == (os.getpid(), "rollback-1", "restore")
    assert owner.is_alive
    lock.release()


def test_a_lock_that_nobody_ever_held_has_no_owner(tmp_path: Path) -> None:
    assert read_owner(tmp_path, "shop") is None


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    acquire(tmp_path, "shop", an_owner()).release()

    lock = acquire(tmp_path, "shop", an_owner())

    lock.release()


@pytest.mark.parametrize("name", ["a/b", "..", "shop production", "ä"])
def test_any_name_stays_within_the_directory(tmp_path: Path, name: str) -> None:
    lock = acquire(tmp_path / "state", name, an_owner())

    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {
        tmp_path / "state" / "locks"
    }
    lock.release()


def test_a_damaged_record_of_the_owner_hides_it_but_not_the_lock(tmp_path: Path) -> None:
    with holder(tmp_path):
        (tmp_path / "locks" / "shop.owner").write_text("{")

        with pytest.raises(LockHeld, match=r"`shop` is held$"):
            acquire(tmp_path, "shop", an_owner())


def test_a_state_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("")

    with pytest.raises(JournalUnwritable, match="locks"):
        acquire(tmp_path, "shop", an_owner())
