"""`runbook points`: what there is to go back to, and what restores have replaced."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from runbook.core.journal import Batch
from runbook.core.plan import Effect, Plan
from runbook.stores.sqlite import SqliteJournal
from tests.report.conftest import Story, step

PROJECT = "project: shop\nresources: {db: {sqlite: {path: shop.db}}}\n"
BACKUP = """\
runbook: v1
name: backup
steps:
  - {id: dump, uses: backup_db, with: {database: db}}
  - {id: seal, uses: seal_restore_point, with: {verify: checksum}}
"""


def test_restore_points_are_listed_with_what_restores_have_replaced(
    cli: Any, project: Path, tmp_path: Path
) -> None:
    (project / "runbooks" / "project.yaml").write_text(PROJECT)
    (project / "runbooks" / "backup.yaml").write_text(BACKUP)
    with closing(sqlite3.connect(project / "runbooks" / "shop.db")) as db:
        db.execute("CREATE TABLE orders (id)")
    state = tmp_path / "state"
    cli("run", "runbooks/backup.yaml")
    cli("run", "runbooks/backup.yaml")
    older, newer = sorted((state / "restore-points").iterdir())
    (older / "manifest.json").write_text("{}")
    (state / "replaced" / "rollback-1-files").mkdir(parents=True)
    (state / "replaced" / "rollback-1-files" / "five").write_text("bytes")

    text = cli("points").out.splitlines()
    document = cli("points", "-o", "json").document

    assert text[0].split() == ["POINT", "PROJECT", "AGE", "SIZE", "COMMIT", "VERIFIED", "RUN"]
    assert text[1].split()[:2] == [newer.name, "shop"]
    assert "DAMAGED" in text[2]
    assert text[-1].split() == ["5", "B", str(state / "replaced" / "rollback-1-files")]
    first, second = document["points"]
    assert (first["id"], first["verified"], first["is_damaged"]) == (newer.name, "checksum", False)
    assert first["run"].startswith("backup-")
    assert first["size_bytes"] > 8000
    assert (second["id"], second["is_damaged"]) == (older.name, True)
    assert document["replaced"][0]["size_bytes"] == 5


def test_a_database_that_a_restore_has_replaced_is_listed_by_its_name(
    cli: Any, tmp_path: Path
) -> None:
    steps = (step("database", "restore_db", Effect.CHANGES),)
    story = Story(plan=Plan(runbook="rollback", lock="shop", steps=steps))
    story.ok("database", outputs={"replaced": "database shop__old_2f"})
    (tmp_path / "state").mkdir()
    journal = SqliteJournal.open(tmp_path / "state" / "journal.db")
    ids = tuple(map(str, range(len(story.events))))
    journal.append(
        [Batch(run_id=story.run_id, expected_seq=0, events=tuple(story.events), ids=ids)]
    )
    journal.close()

    said = cli("points")

    assert said.out.splitlines()[-1].split()[:3] == ["-", "database", "shop__old_2f,"]


def test_where_there_is_no_restore_point_that_is_said(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()

    assert cli("points").out.startswith("no restore point yet: no journal in ")
