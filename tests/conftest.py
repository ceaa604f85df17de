"""What every room's tests share: waiting for the world, golden files, real services."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest


class Eventually(Protocol):
    """Waits until something holds; fails with what it was told otherwise."""

    def __call__(self, holds: Callable[[], object], what: str, within_s: float = 10.0) -> None: ...


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Polls the world instead of sleeping for a guessed time."""

    def wait(holds: Callable[[], object], what: str, within_s: float = 10.0) -> None:
        until = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > until:
                raise AssertionError(f"did not come true within {within_s} s: {what}")
            time.sleep(0.01)

    return wait


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's working directory is its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update` rewrites golden files, `--generate` what is generated from the code."""
    parser.addoption("--update", action="store_true", help="rewrite golden files")
    parser.addoption("--generate", action="store_true", help="write generated files anew")


def pytest_configure() -> None:
    """Started by `nohup` or by `&`, we ignore these, and so would all that the tests start."""
    heard = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: lambda *_: None}
    for number, handler in heard.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: at each worker's end only what is short is left to share out.

    Each of xdist's workers is given a stretch of the list, so that each stretch gets its share.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    by_length = sorted(items, key=_shortness)
    items[:] = [item for worker in range(workers) for item in by_length[worker::workers]]


def _shortness(item: pytest.Item) -> int:
    marks = {mark.name for mark in item.iter_markers()}
    return 2 - len(marks & {"real", "slow"})


@contextmanager
def small_tmpfs(place: Path, options: str) -> Iterator[None]:
    """A file system in memory, mounted there for the while; where none can be, CI fails."""
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        assert not is_ci(), f"no tmpfs can be mounted: {made.stderr}"
        pytest.skip(f"no tmpfs can be mounted: {made.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def is_ci() -> bool:
    """In CI a missing service is a failure, never a skip."""
    return os.environ.get("CI", "").lower() not in ("", "false", "0")
