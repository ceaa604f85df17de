"""A run follows the plan that it recorded, whatever becomes of the files meanwhile."""

import shutil
import subprocess

import pytest

from tests.scenarios.conftest import ROLLBACK, WAIT_FOR_GATE, Desk, Shop, deploy_with

pytestmark = pytest.mark.slow

THEN = """\
  - id: then
    uses: command
    with: {script: "echo as planned >> traces"}
    rerun: safe
"""


@pytest.fixture
def killed(desk: Desk) -> Desk:
    """A desk whose deploy was killed in the middle of a change, which went on to its end."""
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE, more=THEN))
    desk.write("rollback.yaml", ROLLBACK)
    process = desk.start("run", "deploy.yaml")
    desk.traced("began")
    desk.kill(process, is_group=True)
    desk.open_gate()
    desk.traced("ended")
    return desk


def test_resume_follows_the_recorded_plan_where_the_runbook_was_edited(killed: Desk) -> None:
    edited = deploy_with("echo edited >> traces", more=THEN.replace("as planned", "edited"))
    killed.write("deploy.yaml", edited)

    told = killed.runbook("resume")

    assert told.status == 0, told.text
    assert killed.traces == ["looked", "began", "ended", "as", "planned"]
    assert "deploy.yaml` has changed since this run began" in told.err
    assert "rollback.yaml" not in told.err


def test_resume_follows_the_recorded_plan_where_the_runbooks_are_gone(killed: Desk) -> None:
    (killed.root / "deploy.yaml").unlink()
    (killed.root / "rollback.yaml").write_text("}{")

    told = killed.runbook("resume")

    assert told.status == 0, told.text
    assert killed.traces == ["looked", "began", "ended", "as", "planned"]


def test_a_rollback_by_hand_is_the_one_that_was_pinned(killed: Desk) -> None:
    killed.write("rollback.yaml", ROLLBACK.replace("undone", "edited"))

    told = killed.runbook("rollback")

    assert told.status == 0, told.text
    assert killed.traces == ["looked", "began", "ended", "undone"]


def test_a_script_beside_the_runbook_runs_as_it_was_when_the_run_began(desk: Desk) -> None:
    named = "  - {id: then, uses: command, rerun: safe, with: {argv: [sh, ops/then.sh, argument]}}"
    desk.write("deploy.yaml", deploy_with(WAIT_FOR_GATE, more=named))
    desk.write("rollback.yaml", ROLLBACK)
    desk.write("ops/then.sh", "echo planned-$1 >> traces\n")
    process = desk.start("run", "deploy.yaml")
    desk.traced("began")
    desk.kill(process, is_group=True)
    desk.write("ops/then.sh", "echo edited >> traces\n")
    desk.open_gate()
    desk.traced("ended")

    told = desk.runbook("resume")

    assert told.status == 0, told.text
    assert desk.traces == ["looked", "began", "ended", "planned-argument"]
    assert "ops/then.sh` has changed since this run began" in told.err


@pytest.fixture
def nested(shop: Shop) -> Shop:
    """The shop with its runbooks inside the repository that they check out.

    The tag `with` has them beside the first release, `without` is the bad release without them.
    """
    inside = shop.repository / "runbooks"
    shutil.copytree(shop.root / "runbooks", inside)
    for file in inside.glob("*.yaml"):
        text = file.read_text().replace("directory: ..}", "directory: ../..}")
        file.write_text(text.replace("../shop", "..").replace("../data", "../../data"))
    shop.runbooks = inside.relative_to(shop.root)
    git(shop, "add", "--all")
    git(shop, "commit", "--quiet", "--message", "the runbooks live here")
    git(shop, "tag", "with")
    git(shop, "tag", "without", "v3")
    return shop


def git(shop: Shop, *words: str) -> None:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@invalid"]
    command = ["git", "-C", str(shop.repository), *identity, *words]
    subprocess.run(command, check=True, capture_output=True)


def test_runbooks_that_the_checkout_itself_removes_roll_back_all_the_same(nested: Shop) -> None:
    nested.deployed("with")
    head = nested.head()

    told = nested.deploy("without", watch="20s")

    assert told.status == 3, told.text
    assert nested.head() == head
    assert nested.release() == "v1"
    assert (nested.root / nested.runbooks / "rollback.yaml").exists()


def test_a_deploy_killed_after_it_removed_its_runbooks_is_rolled_back_by_hand(
    nested: Shop,
) -> None:
    nested.deployed("with")
    head = nested.head()
    process = nested.start(*nested.deploying("without", watch="60s"))
    nested.eventually(lambda: nested.release() == "v3", "the bad release serves", 20.0)
    nested.kill(process, is_group=True)
    assert not (nested.root / nested.runbooks).exists()

    told = nested.runbook("rollback", "--set", "data=restore", "--yes")

    assert told.status == 0, told.text
    assert nested.head() == head
    assert nested.release() == "v1"


def test_a_runbook_in_a_linked_folder_means_what_lies_beside_the_folder_itself(desk: Desk) -> None:
    desk.write("there/runbooks/deploy.yaml", DEPLOY_BESIDE)
    (desk.root / "here").symlink_to("there/runbooks")

    told = desk.runbook("run", "here/deploy.yaml")

    assert told.status == 0, told.text
    assert (desk.root / "there" / "beside").exists()


DEPLOY_BESIDE = """\
runbook: v1
name: deploy
steps:
  - {id: one, uses: command, rerun: safe, with: {argv: [touch, beside], directory: ..}}
"""
