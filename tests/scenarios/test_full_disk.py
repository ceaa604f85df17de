"""A state directory on a disk that is full: a clear error, nothing lost, and room lets it go on."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.conftest import small_tmpfs
from tests.scenarios.conftest import ROLLBACK, WAIT_FOR_GATE, Desk, Place, Shop, deploy_with

pytestmark = pytest.mark.slow

SIZE_KIB = 2048
STEPS = 12


@pytest.fixture
def small_disk() -> Iterator[Callable[[Place], None]]:
    """Puts a place's state directory on a small tmpfs."""
    with ExitStack() as mounted:

        def mount(place: Place) -> None:
            place.state.mkdir()
            mounted.enter_context(small_tmpfs(place.state, f"size={SIZE_KIB}k"))
            # Before it is unmounted: what runs is known by the state directory alone.
            mounted.callback(place.clean_up)

        yield mount


def fill(place: Place) -> None:
    """Leave no byte of room."""
    descriptor = os.open(place.state / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (65536, 4096, 1):
        with suppress(OSError):
            while os.write(descriptor, bytes(size)):
                pass
    os.close(descriptor)


def make_room(place: Place) -> None:
    (place.state / "filler").unlink()


def many_changes() -> str:
    """More steps after the first change than fit between two pages of the journal."""
    return "".join(
        f"  - {{id: more{n}, uses: wait, with: {{for: 10ms}}}}\n"
        f"  - {{id: change{n}, uses: command, rerun: ask,"
        f' with: {{script: "echo {n} >> traces"}}}}\n'
        for n in range(STEPS)
    )


@pytest.fixture
def full_desk(desk: Desk, small_disk: Callable[[Place], None]) -> Desk:
    """A desk with little room."""
    small_disk(desk)
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE, more=many_changes()))
    desk.write("rollback.yaml", ROLLBACK)
    return desk


def test_a_run_that_cannot_be_recorded_does_not_start(full_desk: Desk) -> None:
    fill(full_desk)

    told = full_desk.runbook("run", "deploy.yaml")
    make_room(full_desk)
    full_desk.open_gate()
    again = full_desk.runbook("run", "deploy.yaml")

    assert told.status == 7, told.text
    assert "full" in told.text or "no space left" in told.text
    assert again.status == 0, again.text
    assert full_desk.traces == ["looked", "began", "ended", *map(str, range(STEPS))]


def test_a_disk_that_fills_in_the_middle_stops_the_run_and_room_lets_it_go_on(
    full_desk: Desk,
) -> None:
    text = deploy_with("echo began >> traces", more=many_changes())
    filling = "  - {id: pause, uses: wait, with: {for: 1s}}\n"
    full_desk.write("deploy.yaml", text.partition("on_failure")[0].replace(
        "  - {id: more0", filling + "  - {id: more0"
    ))  # fmt: skip
    process = full_desk.start("run", "deploy.yaml")
    full_desk.traced("began")
    fill(full_desk)

    told = full_desk.ended(process)
    done = full_desk.traces
    make_room(full_desk)
    resumed = full_desk.runbook("resume")

    assert told.status in (1, 4), told.text
    assert any(word in told.text for word in ("full", "no space left", "no room left")), told.text
    assert len(done) < STEPS
    assert resumed.status == 0, resumed.text
    assert full_desk.traces == ["looked", "began", *map(str, range(STEPS))]


def test_a_command_that_ends_on_a_full_disk_is_recorded_once_there_is_room(
    full_desk: Desk,
) -> None:
    process = full_desk.start("run", "deploy.yaml")
    full_desk.traced("began")
    fill(full_desk)
    full_desk.open_gate()
    full_desk.traced("ended")

    make_room(full_desk)
    told = full_desk.ended(process)

    if told.status != 0:
        told = full_desk.runbook("resume")
    assert told.status == 0, told.text
    assert full_desk.traces == ["looked", "began", "ended", *map(str, range(STEPS))]


def test_preflight_finds_that_the_backup_will_not_fit(
    shop: Shop, small_disk: Callable[[Place], None]
) -> None:
    small_disk(shop)
    (shop.uploads / "film.bin").write_bytes(os.urandom(SIZE_KIB * 1024))
    before = shop.world()

    told = shop.deploy("v1")

    assert told.status == 7, told.text
    assert "free" in told.text
    assert "the system is as it was" in told.text
    assert shop.world() == before


def test_a_backup_that_does_not_fit_leaves_the_system_as_it_was(
    shop: Shop, small_disk: Callable[[Place], None]
) -> None:
    small_disk(shop)
    # Without its preflight, which would have found that out.
    shop.change_runbook("deploy.yaml", "uses: preflight\n", "uses: wait\n    with: {for: 10ms}\n")
    (shop.uploads / "film.bin").write_bytes(os.urandom(SIZE_KIB * 1024))
    before = shop.world()

    told = shop.deploy("v1")
    world = shop.world()
    (shop.uploads / "film.bin").unlink()
    resumed = shop.runbook("resume")

    assert told.status in (1, 7), told.text
    assert "no room left" in told.text or "needs" in told.text
    assert "the system is as it was" in told.text
    assert world == before
    assert resumed.status == 0, resumed.text
    assert shop.release() == "v1"


@pytest.mark.parametrize("room_bytes", [0, 4096, 20_000, 60_000, 150_000])
def test_whatever_room_is_left_a_deploy_ends_well_or_goes_on_once_there_is_more(
    room_bytes: int, shop: Shop, small_disk: Callable[[Place], None]
) -> None:
    shop.change_runbook(
        "deploy.yaml", "uses: preflight\n", "uses: preflight\n    with: {free_disk: 1}\n"
    )
    small_disk(shop)
    shop.deployed("v1")
    shop.order("before")
    fill(shop)
    with (shop.state / "filler").open("r+b") as filler:
        filler.truncate(max(0, (shop.state / "filler").stat().st_size - room_bytes))

    told = shop.deploy("v2")
    make_room(shop)
    unfinished = shop.runbook("resume")

    assert told.status in (0, 1, 3, 4, 7), told.text
    if "nothing to resume" in unfinished.text:
        unfinished = shop.deploy("v2")
    assert unfinished.status in (0, 3), unfinished.text
    assert shop.release() == ("v2" if unfinished.status == 0 else "v1")
    assert shop.items()[-1] == "before"
