"""What left_locks sees of a real repository while others work in it."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook.tools.git import left_locks

NOBODY = 65534


@pytest.fixture
def repository() -> Iterator[Path]:
    """One that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        subprocess.run(["git", "init", "-q", name], check=True)
        path.chmod(0o755)
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_git_of_another_user_may_hold_the_locks(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(repository))
    (repository / ".git" / "index.lock").touch()
    for path in (repository, *repository.rglob("*")):
        shutil.chown(path, NOBODY)
    argv = ["git", "cat-file", "--batch"]
    environ = {**os.environ, "GIT_DIR": str(repository / ".git")}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env=environ) as roots:
        try:
            os.seteuid(NOBODY)
            holders = left_locks(repository, "origin").holders
        finally:
            os.seteuid(0)

    assert roots.pid in holders


def test_directories_that_another_git_prunes_meanwhile_are_passed_over(repository: Path) -> None:
    refs = repository / ".git" / "refs" / "tags"
    is_over = threading.Event()

    def churn() -> None:
        while not is_over.is_set():
            for number in range(20):
                (refs / f"feature{number}" / "deep").mkdir(parents=True, exist_ok=True)
            for number in range(20):
                shutil.rmtree(refs / f"feature{number}")

    pruning = threading.Thread(target=churn)
    pruning.start()
    try:
        for _ in range(100):
            assert not left_locks(repository, "origin").files
    finally:
        is_over.set()
        pruning.join()
