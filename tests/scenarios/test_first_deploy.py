"""Deploys onto nothing, onto something broken, and deploys that end before they change anything."""

import pytest

from tests.scenarios.conftest import Shop

pytestmark = pytest.mark.slow

BROKEN_CHECK = '        - {get: "${{ vars.url }}/search", status: 200}\n'


def test_the_very_first_deploy_works_and_so_does_its_rollback(shop: Shop) -> None:
    head = shop.head()

    deployed = shop.deploy("v1")
    release = shop.release()
    shop.order("first customer")
    rolled_back = shop.runbook("rollback", "--set", "data=restore", "--yes")

    assert (deployed.status, release) == (0, "v1")
    assert rolled_back.status == 0, rolled_back.text
    assert shop.release() is None
    assert shop.head() == head
    assert shop.items()[-1] == "first customer"


def test_a_very_first_deploy_that_goes_bad_is_rolled_back_to_nothing(shop: Shop) -> None:
    head = shop.head()

    told = shop.deploy("v3", watch="20s")

    assert told.status == 3, told.text
    assert shop.release() is None
    assert shop.head() == head
    assert shop.database.exists()


def test_a_deploy_can_follow_a_rolled_back_first_one(shop: Shop) -> None:
    assert shop.deploy("v3", watch="20s").status == 3

    told = shop.deploy("v2")

    assert told.status == 0, told.text
    assert shop.release() == "v2"


def test_a_failure_before_the_restore_point_leaves_the_system_as_it_was(shop: Shop) -> None:
    shop.deployed("v1")
    lacking = "  - id: restore_point                 #"
    failing = (
        "  - {id: fails, uses: command, rerun: safe, with: {argv: ['false'], effect: reads}}\n"
    )
    shop.change_runbook("deploy.yaml", lacking, failing + lacking)
    before = shop.world()

    told = shop.deploy("v2")

    assert told.status == 1, told.text
    assert "the system is as it was" in told.text
    assert shop.world() == before
    assert shop.release() == "v1"
    assert [run["end"] for run in shop.history()] == ["succeeded", "failed"]


def test_a_deploy_that_mends_a_broken_service_is_not_rolled_back(shop: Shop) -> None:
    shop.deployed("v1")
    shop.deployed("v3")
    shop.eventually(lambda: shop.release() == "v3, bad", "the third release goes bad")

    told = shop.deploy("v2")

    assert told.status == 0, told.text
    assert shop.release() == "v2"


def test_a_check_that_fails_the_same_way_as_before_does_not_fail_the_deploy(shop: Shop) -> None:
    shop.deployed("v1")
    items = '        - {get: "${{ vars.url }}/items", status: 200}\n'
    shop.change_runbook("deploy.yaml", items, items + BROKEN_CHECK)

    told = shop.deploy("v2")

    assert told.status == 0, told.text
    assert "/search" in told.text
    assert shop.release() == "v2"


def test_a_check_that_could_not_fail_before_fails_the_first_deploy(shop: Shop) -> None:
    items = '        - {get: "${{ vars.url }}/items", status: 200}\n'
    shop.change_runbook("deploy.yaml", items, items + BROKEN_CHECK)

    told = shop.deploy("v1")

    assert told.status == 3, told.text
    assert "/search" in told.text
    assert shop.release() is None


def test_a_service_that_was_broken_in_another_way_does_not_excuse_the_new_one(shop: Shop) -> None:
    shop.deployed("v1")
    shop.deployed("v3")
    shop.eventually(lambda: shop.release() == "v3, bad", "the third release goes bad")
    shop.change_runbook("deploy.yaml", "json: {status: ok}", "json: {status: perfect}")

    told = shop.deploy("v2")

    assert told.status in (3, 4), told.text
