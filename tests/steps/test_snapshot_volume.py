import os
import threading
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import StepError, Unfit
from runbook.kinds import Done, NotDone
from runbook.restore.point import read_inventory, staging_dir
from runbook.steps.snapshot_volume import STEP, SnapshotVolume


def snapshot(shop: Any, level: str = "stopped", **fields: Any) -> Any:
    ctx = shop.deploy_context("files", **fields)
    return shop.step("snapshot_volume", ctx, volume=shop.uploads, level=level)


def test_a_missing_directory_is_recorded_as_absent(shop: Any) -> None:
    outputs = snapshot(shop)

    assert (outputs.absent, outputs.path, outputs.file_count) == (True, None, 0)


def test_odd_names_and_links_are_recorded_as_they_are(shop: Any) -> None:
    tree = shop.uploads.path
    tree.mkdir()
    odd = [
        b"new\nline",
        b"not-utf8-\xff\xfe",
        b"-rf",
        b" ",
        "\u00fcml\u00e4ut".encode(),
        b"x" * 255,
    ]
    for name in odd:
        (tree / os.fsdecode(name)).write_bytes(name)
    (tree / "link").symlink_to(os.fsdecode(b"to-\xff"))
    (tree / "twin").hardlink_to(tree / "-rf")
    (tree / "empty").mkdir(mode=0o751)
    os.mkfifo(tree / "pipe")

    outputs = snapshot(shop)

    ctx = shop.deploy_context("files")
    inventory = read_inventory(staging_dir(ctx.state_dir, ctx.run_id), outputs.entry)
    assert {os.fsencode(p) for p in inventory} == {
        *odd, b"", b"link", b"twin", b"empty", b"pipe",
    }  # fmt: skip
    assert inventory["link"].target == os.fsdecode(b"to-\xff")
    assert inventory["twin"].link_group == inventory["-rf"].link_group != 0
    assert inventory["empty"].mode == 0o751
    assert outputs.file_count == 7


@pytest.mark.parametrize("level", ["stopped", "live"])
def test_a_file_that_never_stops_changing_is_an_error(shop: Any, level: str) -> None:
    shop.uploads.path.mkdir()
    busy = shop.uploads.path / "busy.log"
    busy.write_bytes(b"x" * 20_000_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            os.utime(busy)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(StepError, match="changes while it is read") as raised:
            snapshot(shop, level=level)
    finally:
        stop.set()
        writer.join()

    assert raised.value.changed is False


def test_paused_needs_something_to_pause(shop: Any) -> None:
    shop.fill()

    with pytest.raises(Unfit, match="nothing can be paused"):
        snapshot(shop, level="paused")


def test_a_file_in_place_of_the_directory_is_unfit(shop: Any) -> None:
    shop.uploads.path.write_text("a file")

    with pytest.raises(Unfit, match="expected a directory"):
        snapshot(shop)


def test_untouched_files_are_shared_with_the_last_restore_point(shop: Any) -> None:
    shop.fill()
    first = Path(shop.back_up().path)
    (shop.uploads.path / "a.txt").write_text("after")
    shop.deployed.clear()

    second = Path(shop.back_up(run_id="deploy-2").path)

    def inode(point: Path, name: str) -> int:
        return (point / "volumes" / "uploads" / "files" / name).stat().st_ino

    assert inode(first, "sub/.hidden") == inode(second, "sub/.hidden")
    assert inode(first, "a.txt") != inode(second, "a.txt")
    assert (first / "volumes/uploads/files/a.txt").read_text() == "before"


def test_a_damaged_file_is_not_shared_with_the_next_restore_point(shop: Any) -> None:
    shop.fill()
    first = Path(shop.back_up().path)
    (first / "volumes/uploads/files/a.txt").write_text("rotten")
    shop.deployed.clear()

    second = Path(shop.back_up(run_id="deploy-2").path)

    assert (second / "volumes/uploads/files/a.txt").read_text() == "before"


def test_a_full_disk_is_a_clear_error(shop: Any, full_disk: Path) -> None:
    shop.fill()
    (shop.uploads.path / "big").write_bytes(os.urandom(4_000_000))

    with pytest.raises(StepError, match="no room left on the disk") as raised:
        snapshot(shop, state_dir=full_disk)

    ctx = shop.deploy_context("files", state_dir=full_disk)
    assert raised.value.changed is False
    assert list((staging_dir(full_disk, ctx.run_id) / "volumes").iterdir()) == []
    spec = SnapshotVolume(volume=shop.uploads, level="live")
    assert STEP.room is not None
    (room,) = STEP.room(spec, ctx)
    assert room.place == full_disk and room.size_bytes > 4_000_000


def test_the_probe_knows_a_complete_snapshot_from_an_unfinished_one(shop: Any) -> None:
    shop.fill()
    assert STEP.probe is not None
    spec, ctx = SnapshotVolume(volume=shop.uploads, level="live"), shop.deploy_context("files")

    before = STEP.probe(spec, ctx)
    outputs = snapshot(shop, level="live")
    after = STEP.probe(spec, ctx)

    assert isinstance(before, NotDone)
    assert isinstance(after, Done) and after.outputs == outputs
