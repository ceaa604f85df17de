"""Once nobody goes on with a run, nothing is left of what only going on with it would need."""

import pytest

from tests.scenarios.conftest import ROLLBACK, WAIT_FOR_GATE, Desk, Shop, deploy_with

pytestmark = pytest.mark.slow


def left_of(place: Desk | Shop) -> list[str]:
    """What lies in the state directory for a resume only."""
    patterns = ("attempts/*", "restore-points/.creating-*")
    return [path.name for pattern in patterns for path in place.state.glob(pattern)]


def test_a_run_that_succeeded_leaves_nothing(shop: Shop) -> None:
    shop.deployed("v1")

    assert left_of(shop) == []


def test_a_run_that_was_aborted_leaves_nothing(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE))
    desk.write("rollback.yaml", ROLLBACK)
    process = desk.start("run", "deploy.yaml")
    desk.traced("began")
    desk.kill(process, is_group=True)
    (run,) = desk.history()
    before = left_of(desk)
    desk.open_gate()

    told = desk.runbook("abort", str(run["id"]), "--reason", "mended by hand")

    assert told.status == 0, told.text
    assert before == [run["id"]]
    assert left_of(desk) == []


BAD = """\
  - {id: bad, uses: command, rerun: safe, with: {script: "exit 1", effect: reads}}

"""


def test_what_a_superseded_run_has_staged_goes_with_it(shop: Shop) -> None:
    shop.deployed("v1")
    shop.change_runbook("deploy.yaml", "  - id: restore_point", f"{BAD}  - id: restore_point")
    failed = shop.deploy("v1")
    (staged,) = (shop.state / "restore-points").glob(".creating-*")
    shop.change_runbook("deploy.yaml", BAD, "")

    told = shop.deploy("v1")

    assert failed.status == 1, failed.text
    assert told.status == 0, told.text
    assert not staged.exists()
    assert left_of(shop) == []
