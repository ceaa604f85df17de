"""Compose: how commands are built, and in which order services come."""

from pathlib import Path

import pytest

from runbook.resources import Compose
from runbook.secret import Secret
from runbook.tools import compose
from runbook.tools.compose import Service, in_order


def service(name: str, *needs: str) -> Service:
    conditions = dict.fromkeys(needs, "service_healthy")
    return Service(name=name, image=name, is_built=False, needs=conditions)


SERVICES = {
    each.name: each
    for each in (
        service("store"),
        service("cache"),
        service("migrate", "store"),
        service("web", "store", "cache", "migrate"),
        service("proxy", "web"),
    )
}


@pytest.mark.parametrize(
    ("wanted", "layers"),
    [
        (["store"], [["store"]]),
        (["migrate"], [["store"], ["migrate"]]),
        (["proxy"], [["cache", "store"], ["migrate"], ["web"], ["proxy"]]),
        (["absent"], []),
    ],
)
def test_a_service_comes_after_all_that_it_needs_and_nothing_else_comes(
    wanted: list[str], layers: list[list[str]]
) -> None:
    assert in_order(SERVICES, wanted) == layers


def test_services_that_need_each_other_come_together() -> None:
    circle = {"a": service("a", "b"), "b": service("b", "a")}

    assert in_order(circle, ["a"]) == [["a", "b"]]


def test_a_command_names_project_directory_files_variables_and_profiles() -> None:
    stack = Compose(
        name="stack",
        project="shop",
        files=[Path("/srv/shop/compose.yaml"), Path("/srv/shop/prod.yaml")],
        env_files=[Path("/srv/shop/prod.env")],
        profiles=["tools"],
        environment={"PASSWORD": Secret("hush")},
    )

    command = compose.create(stack, ["web"], build=False)

    words = " ".join(command.argv)
    assert "--project-name shop --project-directory /srv/shop" in words
    assert "--file /srv/shop/compose.yaml --file /srv/shop/prod.yaml" in words
    assert "--env-file /srv/shop/prod.env --profile tools" in words
    assert words.endswith("create --no-build --pull never web")
    assert "hush" not in words
    assert command.secrets() == (Secret("hush"),)


def test_nothing_is_ever_deleted_without_being_asked() -> None:
    stack = Compose(name="stack", project="shop", files=[Path("/srv/compose.yaml")])
    built = [
        compose.create(stack, [], build=True),
        compose.build(stack, [], pull=True),
        compose.start(stack, "web"),
        compose.run_detached(stack, "web", ["true"], name="n", environment={"A": "b"}),
    ]

    words = {word for command in built for word in command.argv}

    assert not words & {"--yes", "-y", "-v", "--volumes", "--remove-orphans", "--rm"}
