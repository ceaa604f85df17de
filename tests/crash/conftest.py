"""The arenas in which the program is killed."""

from collections.abc import Iterator, Sequence

import pytest

from tests.conftest import Eventually
from tests.crash.arena import LANES, Arena


@pytest.fixture(scope="session")
def _slots(eventually: Eventually) -> Iterator[list[Arena]]:
    slots = [Arena.build(eventually) for _ in range(LANES)]
    yield slots
    for arena in slots:
        arena.close()


@pytest.fixture
def arenas(_slots: list[Arena], eventually: Eventually) -> Sequence[Arena]:
    """The session's arenas; a new one in place of any where a trial has failed."""
    for lane, arena in enumerate(_slots):
        if arena.is_spoiled:
            arena.close()
            _slots[lane] = Arena.build(eventually)
    return tuple(_slots)
