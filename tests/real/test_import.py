"""What deployment scripts have left of their last backup is imported, and rolled back to."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def shop(deployed_shop: Shop) -> Shop:
    """The sample stack with its first release deployed."""
    return deployed_shop


@pytest.fixture
def record(shop: Shop) -> Iterator[Path]:
    """What the scripts have left of a backup that they made of the first release."""
    yield backed_up_by_script(shop)
    shutil.rmtree(shop.repository / "backups")
    (shop.repository / ".last-deployment-backup").unlink()


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


@pytest.mark.usefixtures("record")
def test_an_old_backup_is_imported_and_rolled_back_to(shop: Shop) -> None:
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
    assert shop.objects() == {"one"}
    assert shop.ask("/health") == {"status": "ok", "release": "v1"}


def test_a_record_that_is_anything_but_names_and_values_is_refused(
    shop: Shop, record: Path
) -> None:
    good = record.read_text()
    for line in ("GIT_COMMIT=$(touch /tmp/owned)", "rm -rf /", "PATH=/evil"):
        record.write_text(f"{good}{line}\n")

        told = shop.runbook("run", "runbooks/import.yaml")

        assert told.status == 7, told.text
        assert "is not one of" in told.text


def test_a_dump_that_was_cut_off_is_refused(shop: Shop, record: Path) -> None:
    dump = record.parent / "backups" / "pre-deployment-1" / "db.sql.gz"
    dump.write_bytes(dump.read_bytes()[:-200])
    query = "SELECT datname FROM pg_database ORDER BY 1"
    databases = shop.sql(query)

    told = shop.runbook("run", "runbooks/import.yaml")

    assert told.status == 7, told.text
    assert "is damaged" in told.text
    assert shop.sql(query) == databases
