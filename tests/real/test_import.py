"""What deployment scripts have left of their last backup is imported, and rolled back to."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.conftest import MakeStack
from tests.real.shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def shop(make_stack: MakeStack) -> Iterator[Shop]:
    """The sample stack, its first release deployed and backed up as the scripts did."""
    made = Shop(stack=make_stack(""))
    made.make()
    made.deployed("v1")
    made.order("before")
    yield made
    made.remove()


def backed_up_by_script(shop: Shop) -> Path:
    """The record, beside a dump and an archive made as deploy.sh makes them."""
    backups = shop.repository / "backups" / "pre-deployment-1"
    backups.mkdir(parents=True)
    container = f"{shop.stack.project}-postgres-1"
    dump = f"docker exec {container} pg_dump -U shop shop | gzip > {backups}/db.sql.gz"
    subprocess.run(["bash", "-o", "pipefail", "-c", dump], check=True)
    volume = f"{shop.stack.project}_minio_data:/data:ro"
    tar = ["run", "--rm", "-v", volume, "-v", f"{backups}:/backup", "runbook-test/python:1", "tar"]
    shop.stack.docker(*tar, "czf", "/backup/minio.tar.gz", "-C", "/data", ".")
    record = shop.repository / ".last-deployment-backup"
    record.write_text(
        "# written by deploy.sh\n"
        'DEPLOYMENT_TIMESTAMP="2026-11-27 08:00:00"\n'
        f"BACKUP_DIR={backups}\n"
        f"DB_BACKUP_FILE={backups}/db.sql.gz\n"
        "MINIO_BACKUP_FILE=minio.tar.gz\n"
        f"export GIT_COMMIT='{shop.git('rev-parse', 'HEAD')}'\n"
        "GIT_BRANCH=main\n"
    )
    (shop.repository / ".git" / "info" / "exclude").write_text("backups/\n.last-*\n")
    return record


def test_an_old_backup_is_imported_and_rolled_back_to(shop: Shop) -> None:
    backed_up_by_script(shop)
    before = shop.world()
    imported = shop.runbook("run", "runbooks/import.yaml")
    shop.deployed("v2")
    shop.order("since")
    points = (shop.state / "restore-points").glob("*/manifest.json")
    (point,) = [
        manifest["id"]
        for manifest in (json.loads(path.read_text()) for path in points)
        if manifest["run_id"].startswith("import-")
    ]

    given = [f"point={point}", "data=restore", "confirm=yes"]
    words = [word for each in given for word in ("--set", each)]
    told = shop.runbook("run", "runbooks/rollback.yaml", *words)

    assert imported.status == 0, imported.text
    assert told.status == 0, told.text
    after = shop.world()
    assert after.tables == before.tables
    assert after.commit == before.commit
    assert shop.objects() == {"before"}
    assert shop.ask("/health") == {"status": "ok", "release": "v1"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("GIT_COMMIT=$(touch /tmp/owned)", "is not one of"),
        ("rm -rf /", "is not one of"),
        ("PATH=/evil", "is not one of"),
    ],
)
def test_a_record_that_is_anything_but_names_and_values_is_refused(
    shop: Shop, line: str, says: str
) -> None:
    record = backed_up_by_script(shop)
    record.write_text(record.read_text() + line + "\n")

    told = shop.runbook("run", "runbooks/import.yaml")

    assert told.status == 7, told.text
    assert says in told.text


def test_a_dump_that_was_cut_off_is_refused(shop: Shop) -> None:
    record = backed_up_by_script(shop)
    dump = record.parent / "backups" / "pre-deployment-1" / "db.sql.gz"
    dump.write_bytes(dump.read_bytes()[:-200])

    told = shop.runbook("run", "runbooks/import.yaml")

    assert told.status == 7, told.text
    assert "is damaged" in told.text
    databases = shop.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'shop\\_\\_%'")
    assert databases in ("0", "1")  # the warm way back of the deploy
