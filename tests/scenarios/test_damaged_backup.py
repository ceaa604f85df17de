"""A restore point that is damaged, or of another project, is never restored from."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook.cli.demo import make_workspace
from tests.scenarios.conftest import Shop

pytestmark = pytest.mark.slow

ROLLBACK_BY_HAND = ["rollback", "--set", "data=restore", "--yes"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def artefacts_of(point: Path) -> list[Path]:
    """Every file of a restore point; of the many pictures the last one."""
    files = [path for path in sorted(point.rglob("*")) if path.is_file()]
    pictures = [path for path in files if "files" in path.relative_to(point).parts]
    return [path for path in files if path not in pictures[:-1]]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove])
def test_a_rollback_by_hand_refuses_a_damaged_restore_point_and_changes_nothing(
    damage: Callable[[Path], None], shop: Shop
) -> None:
    shop.deployed("v1")
    shop.deployed("v2")
    point = max((shop.state / "restore-points").iterdir())
    artefacts = artefacts_of(point)
    before = shop.world()

    for artefact in artefacts:
        whole, mode = artefact.read_bytes(), artefact.stat().st_mode
        damage(artefact)
        told = shop.runbook(*ROLLBACK_BY_HAND)
        artefact.write_bytes(whole)
        artefact.chmod(mode)

        assert told.status == 7, (artefact, told.text)
        assert point.name in told.text
        assert shop.world() == before

    assert len(artefacts) >= 5
    assert shop.release() == "v2"
    assert shop.runbook(*ROLLBACK_BY_HAND).status == 0
    assert shop.release() == "v1"
    assert shop.runbook("resume").out.startswith("nothing to resume")


def test_a_rollback_that_a_failure_started_ends_4_and_goes_on_once_the_backup_is_mended(
    shop: Shop,
) -> None:
    shop.deployed("v1")
    shop.order("before")
    process = shop.start(*shop.deploying("v3", watch="20s"))
    shop.eventually(lambda: shop.release() == "v3", "the third release serves", 20.0)
    point = max((shop.state / "restore-points").iterdir())
    artefact = point / "databases" / "db.sqlite"
    whole = artefact.read_bytes()
    flip_a_bit(artefact)

    told = shop.ended(process)
    release = shop.release()
    artefact.write_bytes(whole)
    resumed = shop.runbook("resume")

    assert told.status == 4, told.text
    assert "is damaged" in told.text
    assert release == "v3, bad"
    assert resumed.status == 3, resumed.text
    assert shop.release() == "v1"
    assert shop.items()[-1] == "before"


def test_a_restore_point_of_another_project_is_refused(shop: Shop, tmp_path: Path) -> None:
    shop.deployed("v1")
    (point,) = (shop.state / "restore-points").iterdir()
    other = Shop(
        root=make_workspace(tmp_path / "other", is_bad=False),
        eventually=shop.eventually,
        environ={"RUNBOOK_STATE_DIR": str(shop.state)},
    )
    other.change_runbook("project.yaml", "project: shop", "project: other")
    other.deployed("v1")
    run = str(other.history()[-1]["id"])
    before = other.world()

    given = ["--set", "data=restore", "--set", f"point={point.name}"]
    told = other.runbook("rollback", run, *given, "--yes")

    assert told.status == 7, told.text
    assert "is of project `shop`, not `other`" in told.text
    assert other.world() == before
    assert other.release() == "v1"


def test_a_restore_point_that_was_removed_ends_the_rollback_before_it_changes_anything(
    shop: Shop,
) -> None:
    shop.deployed("v1")
    shop.deployed("v2")
    shutil.rmtree(max((shop.state / "restore-points").iterdir()))
    before = shop.world()

    told = shop.runbook(*ROLLBACK_BY_HAND)

    assert told.status == 7, told.text
    assert shop.world() == before
    assert shop.release() == "v2"
