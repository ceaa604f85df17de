"""Images kept and given back, on a real engine: what ran runs again, and nothing is built."""

from typing import Any

import pytest

from runbook.errors import Unfit
from runbook.kinds import CompletedStep, Result
from runbook.restore import images
from runbook.restore.manifest import StackImages
from runbook.steps import compose_up, snapshot_images
from runbook.steps.compose_up import ComposeUp
from runbook.steps.load_restore_point import STEP as LOAD
from runbook.steps.load_restore_point import LoadedPoint, LoadRestorePoint
from runbook.steps.prune import STEP as PRUNE
from runbook.steps.prune import Prune
from runbook.steps.restore_images import STEP as RESTORE
from runbook.steps.restore_images import RestoreImages
from runbook.steps.seal_restore_point import STEP as SEAL
from runbook.steps.seal_restore_point import SealRestorePoint
from runbook.steps.snapshot_images import SnapshotImages
from tests.real.conftest import MakeStack, Stack
from tests.real.test_compose import built

pytestmark = [pytest.mark.real, pytest.mark.slow]


def up(stack: Stack) -> str:
    """Bring it up; the id of the image that it runs."""
    result = compose_up.STEP.run(ComposeUp(stack=stack.resource), stack.context())
    assert isinstance(result, Result)
    return str(result.outputs.images["web"])


def release(stack: Stack, content: str) -> str:
    (stack.root / "release").write_text(content)
    stack.compose("build")
    return up(stack)


def snapshot(stack: Stack) -> StackImages:
    result = snapshot_images.STEP.run(SnapshotImages(stack=stack.resource), stack.context())
    assert isinstance(result, Result)
    entry = result.outputs.entry
    assert isinstance(entry, StackImages)
    return entry


def sealed(stack: Stack, run_id: str = "run-1") -> str:
    """Seal a restore point of the images that run; its id."""
    taken = snapshot_images.STEP.run(
        SnapshotImages(stack=stack.resource), stack.context(run_id=run_id, step_id="images")
    )
    assert isinstance(taken, Result)
    done = CompletedStep(
        id="images",
        kind="snapshot_images",
        outputs=taken.outputs.model_dump(mode="json"),
        changed=False,
    )
    ended = SEAL.run(
        SealRestorePoint(), stack.context(run_id=run_id, step_id="seal", completed=[done])
    )
    assert isinstance(ended, Result)
    return str(ended.outputs.id)


@pytest.fixture
def stack(make_stack: MakeStack) -> Any:
    stack = built(make_stack, "one")
    yield stack
    stack.remove()
    listed = stack.docker("image", "ls", "-q", f"{stack.project}-web").split()
    if listed:
        stack.docker("image", "rm", "-f", *sorted(set(listed)))


def test_what_ran_runs_again_and_nothing_is_built(stack: Stack) -> None:
    first = release(stack, "one")
    point = sealed(stack)
    second = release(stack, "two")
    stack.docker("image", "prune", "-f")
    loaded = CompletedStep(
        id="point", kind="load_restore_point", outputs={"id": point}, changed=False
    )

    result = RESTORE.run(
        RestoreImages(stack=stack.resource), stack.context(step_id="back", completed=[loaded])
    )

    assert isinstance(result, Result)
    assert result.changed
    assert up(stack) == first != second
    assert stack.docker("exec", f"{stack.project}-web-1", "cat", "/release") == "one"


def test_a_restore_point_whose_images_are_gone_is_refused_unless_they_are_to_be_built(
    stack: Stack,
) -> None:
    first = release(stack, "one")
    point = sealed(stack)
    stack.remove()
    stack.docker("image", "rm", "-f", first)

    with pytest.raises(Unfit) as caught:
        LOAD.run(LoadRestorePoint(point=point), stack.context())
    loaded = LOAD.run(LoadRestorePoint(point=point, build=True), stack.context())

    assert "image" in caught.value.message and "is gone" in caught.value.message
    assert "--set build=true" in str(caught.value.hint)
    assert isinstance(loaded, LoadedPoint)
    assert loaded.build


def test_the_names_of_its_images_go_with_a_restore_point_that_is_pruned(stack: Stack) -> None:
    release(stack, "one")
    sealed(stack, run_id="run-1")
    sealed(stack, run_id="run-2")
    names = ["image", "ls", "--format", "{{.Tag}}", f"{stack.project}-web"]
    before = stack.docker(*names).split()

    result = PRUNE.run(Prune(keep_last=1), stack.context(run_id="run-3"))

    assert isinstance(result, Result)
    assert len(result.outputs.deleted) == 1
    assert result.outputs.left == []
    assert len(before) == 3
    assert len(stack.docker(*names).split()) == 2


def test_giving_back_what_runs_already_changes_nothing(stack: Stack) -> None:
    release(stack, "one")
    entry = snapshot(stack)

    assert images.restore(entry, stack.context()) == []


def test_an_image_that_is_gone_is_named_before_any_name_is_moved(stack: Stack) -> None:
    first = release(stack, "one")
    entry = snapshot(stack)
    second = release(stack, "two")
    stack.docker("image", "rm", "-f", first)

    with pytest.raises(Unfit) as caught:
        images.restore(entry, stack.context())

    assert "`web` is gone" in caught.value.message
    assert up(stack) == second


def test_a_stack_that_never_ran_has_no_images(stack: Stack) -> None:
    entry = snapshot(stack)

    stack.compose("build")
    assert entry.images == []
