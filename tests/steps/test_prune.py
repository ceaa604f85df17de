"""prune: which restore points it deletes, which never, and how it goes on after a kill."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook.kinds import Result
from runbook.restore import retention
from runbook.restore.manifest import Manifest
from runbook.restore.point import open_point, points_dir, seal
from runbook.steps.prune import STEP, Prune, Pruned


def sealed(shop: Any, age_days: float, *, project: str = "shop", **fields: Any) -> str:
    """A restore point of the past; its id. The first is a real backup, the others its copies."""
    state: Path = shop.make_context().state_dir
    at = datetime.now(UTC) - timedelta(days=age_days)
    template = state / "template"
    if not template.exists():
        shop.fill()
        made = Path(shop.back_up(**fields).path)
        made.rename(template)
    manifest = json.loads((template / "manifest.json").read_text())
    identifier = f"{at:%Y%m%dT%H%M%S}.000Z-{project}"
    staging = points_dir(state) / f".creating-{identifier}"
    shutil.copytree(template, staging)
    entry = {"id": identifier, "project": project, "created_at": at.isoformat()}
    text = json.dumps(manifest | entry)
    return seal(staging, Manifest.model_validate_json(text)).id


def prune(shop: Any, spec: Prune, **fields: Any) -> Any:
    fields.setdefault("resources", {"db": shop.db, "uploads": shop.uploads})
    ctx = shop.make_context("backup-1", "prune", **fields)
    result = STEP.run(spec, ctx)
    assert isinstance(result, Result) and isinstance(result.outputs, Pruned)
    assert result.changed == bool(result.outputs.deleted)
    assert not any(".pruning-" in line for line in ctx.logged)
    return result.outputs


@pytest.mark.parametrize(
    ("rules", "survivors"),
    [
        ({"keep_last": 1}, [3]),
        ({"keep_last": 2}, [2, 3]),
        ({"keep_last": 9}, [0, 1, 2, 3]),
        ({"keep_days": 7}, [2, 3]),
        ({"keep_days": 0}, [3]),
        ({"keep_last": 3, "keep_days": 7}, [1, 2, 3]),
        ({"keep_last": 1, "keep_days": 30}, [0, 1, 2, 3]),
    ],
)
def test_what_neither_rule_keeps_is_deleted_but_never_the_newest(
    shop: Any, rules: dict[str, int], survivors: list[int]
) -> None:
    points = [sealed(shop, age) for age in (20, 10, 5, 1)]

    outputs = prune(shop, Prune.model_validate(rules))

    kept = [points[index] for index in survivors]
    assert outputs.kept == kept
    assert outputs.deleted == [each for each in points if each not in kept]
    there = points_dir(shop.make_context().state_dir)
    assert sorted(path.name for path in there.iterdir()) == kept


def test_what_an_unfinished_run_needs_is_anothers_or_is_damaged_stays(shop: Any) -> None:
    needed, theirs, damaged, old, newest = (
        sealed(shop, 20),
        sealed(shop, 19, project="theirs"),
        sealed(shop, 18),
        sealed(shop, 17),
        sealed(shop, 1),
    )
    there = points_dir(shop.make_context().state_dir)
    (there / damaged / "manifest.json.sha256").write_text("rubbish")

    outputs = prune(shop, Prune(keep_last=1), needed_points=[needed])

    assert outputs.deleted == [old]
    assert {path.name for path in there.iterdir()} == {needed, theirs, damaged, newest}


def test_one_whose_database_lies_restored_beside_the_live_one_stays(shop: Any) -> None:
    warm = sealed(shop, 20, verify="restore")
    sealed(shop, 1)
    (copy,) = shop.root.glob("*rb-*")

    first = prune(shop, Prune(keep_last=1))
    copy.unlink()
    second = prune(shop, Prune(keep_last=1))

    assert first.deleted == []
    assert second.deleted == [warm]


def test_a_warm_copy_that_the_project_does_not_name_any_more_is_told(shop: Any) -> None:
    sealed(shop, 20, verify="restore")
    sealed(shop, 1)

    outputs = prune(shop, Prune(keep_last=1), resources={})

    assert len(outputs.deleted) == 1
    assert ".rb-" in outputs.left[0]


def test_what_another_project_is_about_to_delete_is_left_to_it(shop: Any) -> None:
    theirs, own = sealed(shop, 20, project="theirs"), sealed(shop, 1)
    context = shop.make_context()
    retention.give_up(open_point(context.state_dir, theirs))

    outputs = prune(shop, Prune(keep_days=10**9))

    assert outputs.deleted == []
    assert outputs.kept == [own]
    there = points_dir(context.state_dir)
    assert {path.name for path in there.iterdir()} == {f".pruning-{theirs}", own}


@pytest.mark.parametrize("remains", ["everything", "the manifest", "nothing"])
def test_one_that_a_kill_has_left_half_deleted_is_deleted_by_the_next(
    shop: Any, remains: str
) -> None:
    old, newest = sealed(shop, 20), sealed(shop, 1)
    context = shop.make_context()
    retention.give_up(open_point(context.state_dir, old))
    (given_up,) = retention.given_up(context)
    if remains != "everything":
        shutil.rmtree(given_up / "databases")
    if remains == "nothing":
        (given_up / "manifest.json").unlink()

    outputs = prune(shop, Prune(keep_days=7), progress={"deleting": [old]})

    assert outputs.deleted == [old]
    assert outputs.kept == [newest]
    assert [path.name for path in points_dir(context.state_dir).iterdir()] == [newest]
