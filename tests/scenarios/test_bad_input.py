"""Bad input ends with a clear error and the right exit status, and nothing has changed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.conftest import ROLLBACK, Desk, Shop, deploy_with

pytestmark = pytest.mark.slow

SECRETS = """\
project: desk
secrets:
  token: {env: DESK_TOKEN}
  key: {file: key.txt}
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("rerun: ask", "reruns: ask", "unknown key `reruns`"),
        ("uses: command", "uses: comand", "did you mean `command`"),
        ("rerun: ask", "rerun: yes", "`yes`"),
        ("rerun: ask", "timeout: soon", "`soon`"),
        ("id: change", "id: look", "`look`"),
        ("after: look", "after: lock", "did you mean `look`"),
        ("rollback.yaml", "rollbock.yaml", "rollbock.yaml"),
        ("steps:", "steps: [", "deploy.yaml:"),
        ("rerun: ask", "when: steps.lok.changed", "lok"),
        ("name: deploy", "name: deploy\nname: again", "`name`"),
    ],
)
def test_a_wrong_runbook_is_refused_with_the_place_before_anything_has_run(
    old: str, new: str, says: str, desk: Desk
) -> None:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces").replace(old, new))
    desk.write("rollback.yaml", ROLLBACK)

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 2, told.text
    assert "error[RB" in told.err
    assert "--> deploy.yaml:" in told.err
    assert says in told.err
    assert desk.traces == []


def test_all_errors_are_shown_at_once_in_order_of_place(desk: Desk) -> None:
    text = deploy_with("true").replace("rerun: safe", "rerun: safely").replace("ask", "askk")
    desk.write("deploy.yaml", text)
    desk.write("rollback.yaml", ROLLBACK)

    told = desk.runbook("run", "deploy.yaml")

    assert told.err.index("`safely`") < told.err.index("`askk`")
    assert "2 errors; nothing was run" in told.err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.yaml", None),
        ("folder.yaml", "a folder"),
        ("latin.yaml", b"runbook: v1\nname: caf\xe9\n"),
        ("empty.yaml", b""),
        ("binary.yaml", b"\0\1\2\3" * 100),
        ("list.yaml", b"- runbook: v1\n"),
    ],
)
def test_what_is_no_runbook_is_refused(name: str, content: object, desk: Desk) -> None:
    match content:
        case bytes():
            (desk.root / name).write_bytes(content)
        case str():
            (desk.root / name).mkdir()
        case _:
            pass

    told = desk.runbook("run", name)

    assert told.status == 2, told.text
    assert name in told.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "revision"], "NAME=VALUE"),
        (["--set", "monitoring_duration=soon"], "`soon`"),
        (["--set", "error_threshold=11"], "11"),
        (["--set", "revision=v1", "--set", "revision=v2"], "twice"),
    ],
)
def test_a_wrong_input_is_refused(arguments: list[str], says: str, shop: Shop) -> None:
    before = shop.world()

    told = shop.runbook("run", "runbooks/deploy.yaml", *arguments)

    assert told.status == 2, told.text
    assert says in told.err
    assert shop.world() == before


@pytest.mark.parametrize(
    ("environ", "key", "says"),
    [
        ({}, "k", "DESK_TOKEN"),
        ({"DESK_TOKEN": ""}, "k", "DESK_TOKEN"),
        ({"DESK_TOKEN": "t"}, None, "key.txt"),
        ({"DESK_TOKEN": "t"}, "", "key.txt"),
    ],
)
def test_a_missing_secret_is_named_before_anything_has_run(
    environ: dict[str, str], key: str | None, says: str, desk: Desk
) -> None:
    desk.write("project.yaml", SECRETS)
    text = deploy_with("echo changed >> traces")
    wanted = '      environment: {T: "${{ secrets.token }}", K: "${{ secrets.key }}"}\n'
    desk.write("deploy.yaml", text.replace("      script: |", wanted + "      script: |"))
    desk.write("rollback.yaml", ROLLBACK)
    if key is not None:
        desk.write("key.txt", key)

    told = desk.runbook("run", "deploy.yaml", **environ)

    assert told.status == 2, told.text
    assert says in told.err
    assert desk.traces == []


def a_file_of_garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 300)


def a_directory(path: Path) -> None:
    path.mkdir()


def a_header_and_nothing_more(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\1" * 200)


@pytest.mark.parametrize("spoil", [a_file_of_garbage, a_directory, a_header_and_nothing_more])
def test_an_unreadable_database_ends_the_deploy_before_it_changes_anything(
    spoil: Callable[[Path], None], shop: Shop
) -> None:
    spoil(shop.database)
    before = shop.world()

    told = shop.deploy("v1")

    assert told.status == 7, told.text
    assert "shop.db" in told.text
    assert "the system is as it was" in told.text
    assert shop.world() == before
    assert shop.release() is None


def test_a_damaged_database_ends_the_deploy_before_it_changes_anything(shop: Shop) -> None:
    shop.deployed("v1")
    assert shop.runbook("run", "runbooks/stop.yaml").status == 0
    data = bytearray(shop.database.read_bytes())
    data[4096:4200] = bytes(104)
    shop.database.write_bytes(data)
    before = shop.world()

    told = shop.deploy("v2")

    assert told.status == 7, told.text
    assert "the system is as it was" in told.text
    assert shop.world() == before


def test_a_state_directory_inside_what_the_run_changes_is_refused(shop: Shop) -> None:
    told = shop.runbook("--state-dir", "shop/.state", *shop.deploying("v1"))

    assert told.status == 2, told.text
    assert "--state-dir" in told.err
    assert shop.release() is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["resume", "no-such-run"],
        ["rollback"],
        ["rollback", "no-such-run"],
        ["abort", "no-such-run", "--reason", "none"],
        ["logs", "no-such-run"],
        ["status", "no-such-run"],
        ["steps", "no_such_kind"],
    ],
)
def test_what_does_not_exist_is_a_usage_error(arguments: list[str], desk: Desk) -> None:
    told = desk.runbook(*arguments)

    assert told.status == 2, told.text
    assert told.err.startswith("error[RB")


def test_a_journal_that_is_garbage_is_refused_and_left_alone(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces"))
    desk.write("rollback.yaml", ROLLBACK)
    desk.state.mkdir()
    journal = desk.state / "journal.db"
    journal.write_bytes(b"garbage" * 1000)

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 2, told.text
    assert "journal" in told.err
    assert journal.read_bytes() == b"garbage" * 1000
    assert desk.traces == []


def test_an_environment_that_nobody_has_described_is_refused(desk: Desk) -> None:
    desk.write("deploy.yaml", deploy_with("echo changed >> traces"))
    desk.write("rollback.yaml", ROLLBACK)

    told = desk.runbook("run", "deploy.yaml", "--env", "prod")

    assert told.status == 2, told.text
    assert "no environment `prod`" in told.text
    assert desk.traces == []


def test_a_changed_work_tree_is_refused_by_preflight_already(shop: Shop) -> None:
    shop.deployed("v1")
    (shop.repository / "server.py").write_text("edited by hand")
    before = shop.world()

    told = shop.deploy("v2")

    assert told.status == 7, told.text
    assert "`server.py`" in told.text
    assert "preflight" in told.last_line or "preflight" in told.text
    assert shop.world() == before
    assert shop.history()[-1]["end"] == "failed"


def test_a_run_is_given_up_without_the_secrets_that_it_would_need(desk: Desk) -> None:
    desk.write("project.yaml", "project: desk\nsecrets: {token: {env: DESK_TOKEN}}\n")
    wanted = '      environment: {T: "${{ secrets.token }}"}\n'
    text = deploy_with("echo changed >> traces", more=FAILS)
    desk.write("deploy.yaml", text.replace("      script: |\n", f"{wanted}      script: |\n"))
    desk.write("rollback.yaml", ROLLBACK.replace("echo undone >> traces", "exit 1"))
    failed = desk.runbook("run", "deploy.yaml", DESK_TOKEN="hush")

    told = desk.runbook("abort", str(desk.history()[-1]["id"]), "--reason", "mended by hand")

    assert failed.status == 4, failed.text
    assert told.status == 0, told.text
    assert desk.history()[-1]["end"] == "aborted"


FAILS = """\
  - id: fails
    uses: command
    with: {script: "exit 1", effect: reads}
    rerun: safe
"""
