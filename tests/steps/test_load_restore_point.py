from pathlib import Path
from typing import Any

import pytest

from runbook.errors import Unfit
from runbook.kinds import Question
from runbook.registry import discover
from runbook.resources import Compose
from runbook.steps.confirm import Confirm

ARTEFACTS = [
    "manifest.json",
    "manifest.json.sha256",
    "databases/db.sqlite",
    "volumes/uploads/inventory.jsonl",
    "volumes/uploads/files/a.txt",
    "volumes/uploads/files/sub/.hidden",
]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def test_it_is_by_default_the_one_that_the_undone_run_sealed(shop: Any) -> None:
    shop.fill(rows=20)
    sealed = shop.back_up()
    shop.sql("INSERT INTO orders (item) VALUES ('meanwhile')")
    (shop.uploads.path / "new.txt").write_text("meanwhile")
    ctx = shop.rollback_context("point")

    loaded = shop.step("load_restore_point", ctx)

    log = "\n".join(loaded.written_since)
    assert all(line in ctx.logged for line in loaded.written_since)
    assert (loaded.id, loaded.served, loaded.commit) == (sealed.id, True, None)
    assert 0 <= loaded.age_s < 60
    assert "db.orders: 20 rows then, 21 now" in log
    assert "`uploads`: 1 entries" in log


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty, remove])
@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_a_damaged_one_is_unfit(shop: Any, artefact: str, damage: Any) -> None:
    shop.fill()
    sealed = shop.back_up()
    damage(Path(sealed.path) / artefact)

    with pytest.raises(Unfit, match=r"damaged|no restore point"):
        shop.load()


def test_one_of_another_project_is_unfit(shop: Any) -> None:
    shop.back_up()

    with pytest.raises(Unfit, match="is of project `shop`, not `other`"):
        shop.step("load_restore_point", shop.rollback_context("point", project="other"))


def test_an_unknown_one_is_unfit_and_the_known_ones_are_named(shop: Any) -> None:
    sealed = shop.back_up()

    with pytest.raises(Unfit, match="no restore point `other`") as raised:
        shop.step("load_restore_point", shop.rollback_context("point"), point="other")

    assert raised.value.hint is not None and sealed.id in raised.value.hint


def test_one_that_is_not_sealed_yet_is_unknown(shop: Any) -> None:
    shop.step("backup_db", shop.deploy_context("dump"), database=shop.db)

    with pytest.raises(Unfit, match="no restore point"):
        shop.step("load_restore_point", shop.rollback_context("point"), point=".creating-deploy-1")


def test_without_an_undone_run_the_restore_point_must_be_named(shop: Any) -> None:
    sealed = shop.back_up()
    ctx = shop.make_context("rollback-2", "point")

    with pytest.raises(Unfit, match="no undone run"):
        shop.step("load_restore_point", ctx)
    loaded = shop.step("load_restore_point", ctx, point=sealed.id)

    assert loaded.id == sealed.id


def test_without_the_images_of_a_stack_that_ran_it_says_beforehand_that_they_are_built(
    shop: Any,
) -> None:
    shop.fill()
    shop.back_up()
    stack = Compose(name="stack", project="shop", files=[shop.root / "compose.yaml"])
    resources = {"db": shop.db, "uploads": shop.uploads, "stack": stack}
    ctx = shop.rollback_context("point", resources=resources)

    loaded = shop.step("load_restore_point", ctx)
    asked = discover().find("confirm").run(Confirm(), shop.rollback_context("sure"))

    assert loaded.build
    assert any("built from source" in line for line in ctx.logged)
    assert isinstance(asked, Question)
    assert "built from source" in asked.text
