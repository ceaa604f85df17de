import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import StepError, Unfit
from runbook.tools.inventory import Inventory, scan, tree_sha256


def restore(shop: Any, step_id: str = "files") -> Any:
    return shop.step("restore_volume", shop.rollback_context(step_id), volume=shop.uploads)


def fingerprint(tree: Path) -> str:
    """Everything about a tree: metadata, links and contents."""
    found: Inventory = scan(tree, ignored=lambda _: False, check=lambda: None)
    contents = [(p, (tree / p).read_bytes()) for p, e in sorted(found.items()) if e.type == "file"]
    return f"{tree_sha256(found)} {hash(tuple(contents))}"


def odd_tree(tree: Path) -> None:
    for name in (b"new\nline", b"not-utf8-\xff\xfe", b"-rf", b"x" * 255, b".dot"):
        (tree / os.fsdecode(name)).write_bytes(name * 10)
    (tree / "link").symlink_to("a.txt")
    (tree / "twin").hardlink_to(tree / "-rf")
    (tree / "empty").mkdir(mode=0o751)
    (tree / "was_directory" / "deep").mkdir(parents=True)
    (tree / "was_directory" / "deep" / "file").write_text("deep")
    (tree / "was_file").write_text("file")
    (tree / "was_link").symlink_to("nowhere")
    (tree / "secret").write_text("secret")
    (tree / "secret").chmod(0o400)
    os.utime(tree / "sub", ns=(1, 1_500_000_000_123_456_789))
    if os.geteuid() == 0:
        os.chown(tree / "a.txt", 1234, 4321)


def make_a_mess(tree: Path) -> None:
    (tree / "a.txt").write_text("after!")
    (tree / os.fsdecode(b"not-utf8-\xff\xfe")).unlink()
    (tree / "-rf").unlink()
    (tree / "-rf").write_text("no twin any more")
    (tree / "link").unlink()
    (tree / "link").symlink_to("elsewhere")
    (tree / "empty").rmdir()
    (tree / "empty").write_text("now a file")
    shutil.rmtree(tree / "was_directory")
    (tree / "was_directory").write_text("now a file")
    (tree / "was_file").unlink()
    (tree / "was_file").mkdir()
    (tree / "was_file" / "inside").write_text("inside")
    (tree / "was_link").unlink()
    (tree / "was_link").mkdir()
    (tree / "secret").chmod(0o666)
    (tree / "added" / "deeper").mkdir(parents=True)
    (tree / "added" / "deeper" / ".new").write_text("new")
    (tree / "added" / "loop").symlink_to("..")
    os.mkfifo(tree / "added" / "pipe")


def test_everything_is_as_it_was_and_what_was_replaced_is_kept(shop: Any) -> None:
    shop.fill()
    odd_tree(shop.uploads.path)
    before = fingerprint(shop.uploads.path)
    shop.back_up()
    make_a_mess(shop.uploads.path)
    shop.load()

    outputs = restore(shop)

    kept = Path(outputs.replaced) / "files"
    assert fingerprint(shop.uploads.path) == before
    assert (kept / "a.txt").read_text() == "after!"
    assert (kept / "-rf").read_text() == "no twin any more"
    assert (kept / "was_file" / "inside").read_text() == "inside"
    assert (kept / "was_directory").read_text() == "now a file"
    assert (kept / "added" / "deeper" / ".new").read_text() == "new"
    assert str((kept / "link").readlink()) == "elsewhere"


def test_a_second_restore_changes_nothing(shop: Any) -> None:
    shop.fill()
    shop.back_up()
    (shop.uploads.path / "a.txt").write_text("after")
    shop.load()
    restore(shop, "first")

    outputs = restore(shop, "second")

    assert (outputs.written, outputs.removed, outputs.adjusted) == (0, 0, 0)
    assert shop.undoing[-1].changed is False


def test_a_content_of_the_same_size_and_time_is_told_apart(shop: Any) -> None:
    shop.fill()
    file = shop.uploads.path / "a.txt"
    status = file.stat()
    shop.back_up()
    file.write_text("BEFORE")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    shop.load()

    restore(shop)

    assert file.read_text() == "before"


def test_going_back_to_absent_deletes_nothing(shop: Any) -> None:
    shop.back_up()
    shop.fill()
    shop.load()

    outputs = restore(shop)

    assert outputs.absent and shop.undoing[-1].changed is False
    assert (shop.uploads.path / "a.txt").read_text() == "before"


def test_a_directory_that_is_gone_altogether_comes_back(shop: Any) -> None:
    shop.fill()
    before = fingerprint(shop.uploads.path)
    shop.back_up()
    shutil.rmtree(shop.uploads.path)
    shop.load()

    restore(shop)

    assert fingerprint(shop.uploads.path) == before


def test_files_linked_to_each_other_only_afterwards_are_parted_again(shop: Any) -> None:
    shop.fill()
    (shop.uploads.path / "b.txt").write_text("before")
    shop.back_up()
    (shop.uploads.path / "b.txt").unlink()
    (shop.uploads.path / "b.txt").hardlink_to(shop.uploads.path / "a.txt")
    shop.load()

    restore(shop)

    assert (shop.uploads.path / "a.txt").stat().st_nlink == 1


def test_a_resume_adds_to_what_is_kept_and_overwrites_nothing(shop: Any) -> None:
    shop.fill()
    shop.back_up()
    shop.load()
    (shop.uploads.path / "a.txt").write_text("first")
    restore(shop)
    (shop.uploads.path / "a.txt").write_text("second")

    outputs = restore(shop)

    kept = Path(outputs.replaced)
    assert (kept / "files" / "a.txt").read_text() == "first"
    assert (kept / "files-2" / "a.txt").read_text() == "second"
    assert (shop.uploads.path / "a.txt").read_text() == "before"


def test_a_directory_that_its_owner_may_not_write_to_is_brought_back_too(shop: Any) -> None:
    shop.fill()
    (shop.uploads.path / "sub").chmod(0o500)
    shop.back_up()
    (shop.uploads.path / "sub").chmod(0o700)
    (shop.uploads.path / "sub" / ".hidden").write_text("after")
    (shop.uploads.path / "sub").chmod(0o500)
    shop.load()

    restore(shop)

    assert (shop.uploads.path / "sub" / ".hidden").read_text() == "before"
    assert (shop.uploads.path / "sub").stat().st_mode & 0o777 == 0o500


def test_a_volume_that_the_restore_point_does_not_have_is_unfit(shop: Any) -> None:
    shop.fill()
    shop.step("seal_restore_point", shop.deploy_context("seal"))
    shop.load()

    with pytest.raises(Unfit, match="has no snapshot of `uploads`"):
        restore(shop)


def test_a_full_disk_leaves_no_half_file(shop: Any, full_disk: Path) -> None:
    tree = full_disk / "uploads"
    shop.uploads = shop.uploads.model_copy(update={"path": tree})
    shop.fill()
    (tree / "big").write_bytes(os.urandom(1_200_000))
    shop.back_up()
    (tree / "big").write_bytes(os.urandom(1_200_000))
    shop.load()

    with pytest.raises(StepError, match="no room left on the disk"):
        restore(shop)

    assert sorted(p.name for p in tree.iterdir()) == ["a.txt", "big", "sub"]
    assert (tree / "big").stat().st_size == 1_200_000


@pytest.mark.slow
def test_killed_at_any_moment_and_entered_again_it_gets_to_the_same_end(
    shop: Any, run_and_kill: Any
) -> None:
    shop.fill()
    tree = shop.uploads.path
    for number in range(300):
        (tree / f"f{number}").write_text(f"before {number}")
    odd_tree(tree)
    before = fingerprint(tree)
    shop.back_up()
    shop.load()

    for kill in range(20):
        make_a_mess(tree)
        for number in range(0, 300, 2):
            (tree / f"f{number}").write_text(f"after {number}")
        ctx = shop.rollback_context(f"files_{kill}")
        for twice in range(2):
            run_and_kill(
                "restore_volume", ctx, {"volume": shop.uploads}, after_s=(kill + twice) * 0.008
            )

        outputs = shop.step("restore_volume", ctx, volume=shop.uploads)

        assert fingerprint(tree) == before
        kept = Path(outputs.replaced)
        for number in range(0, 300, 2):
            assert (kept / "files" / f"f{number}").read_text() == f"after {number}"
        assert [p.name for p in kept.iterdir()] == ["files"]
