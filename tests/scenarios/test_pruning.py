"""A nightly backup prunes restore points, but not what a parked deploy may go back to."""

import sqlite3
from contextlib import closing

import pytest

from tests.scenarios.conftest import Desk

pytestmark = pytest.mark.slow

PROJECT = "project: sample\nresources: {db: {sqlite: {path: shop.db}}}\n"
STEPS = """\
runbook: v1
name: {name}
lock: {name}
steps:
  - {{id: dump, uses: backup_db, with: {{database: db}}}}
  - {{id: seal, uses: seal_restore_point, with: {{verify: checksum}}}}
"""
CHANGES = """\
  - {id: change, uses: command, with: {script: "true"}, rerun: safe}
  - {id: approved, uses: approval}
"""
UNDONE = """\
on_failure: {runbook: rollback.yaml, after: seal}
"""
ROLLBACK = """\
runbook: v1
name: rollback
for: deploy.yaml
steps:
  - {id: back, uses: command, with: {argv: ["true"]}, rerun: safe}
"""
PRUNES = "  - {id: prune, uses: prune, with: {keep_last: 1}}\n"


def test_what_an_unfinished_run_may_go_back_to_is_kept_until_it_is_given_up(desk: Desk) -> None:
    with closing(sqlite3.connect(desk.root / "shop.db")) as db:
        db.execute("CREATE TABLE orders (id)")
    desk.write("project.yaml", PROJECT)
    desk.write("deploy.yaml", STEPS.format(name="deploy") + CHANGES)
    desk.write("backup.yaml", STEPS.format(name="backup") + PRUNES)

    def points() -> list[str]:
        return sorted(path.name for path in (desk.state / "restore-points").iterdir())

    parked = desk.runbook("run", "deploy.yaml")
    (needed,) = points()
    for _ in range(2):
        backed_up = desk.runbook("run", "backup.yaml")
        assert backed_up.status == 0, backed_up.text
    while_parked = points()
    (run,) = [run for run in desk.history() if run["runbook"] == "deploy"]
    aborted = desk.runbook("abort", str(run["id"]), "--reason", "given up")
    desk.runbook("run", "backup.yaml")

    assert parked.status == 5, parked.text
    assert while_parked[0] == needed
    assert len(while_parked) == 2
    assert aborted.status == 0, aborted.text
    assert len(points()) == 1
    assert needed not in points()


def test_a_backup_that_prunes_does_not_stand_in_the_way_of_a_rollback(desk: Desk) -> None:
    with closing(sqlite3.connect(desk.root / "shop.db")) as db:
        db.execute("CREATE TABLE orders (id)")
    desk.write("project.yaml", PROJECT)
    changes = CHANGES.splitlines(keepends=True)[0]
    desk.write("deploy.yaml", STEPS.format(name="shop") + changes + UNDONE)
    desk.write("rollback.yaml", ROLLBACK)
    desk.write("backup.yaml", STEPS.format(name="shop") + PRUNES)
    for runbook in ("deploy.yaml", "deploy.yaml", "backup.yaml"):
        assert desk.runbook("run", runbook).status == 0

    told = desk.runbook("rollback")

    assert told.status == 0, told.text
    assert len(list((desk.state / "restore-points").iterdir())) == 1
