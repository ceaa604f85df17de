"""The record that deployment scripts leave: read strictly, never run."""

from pathlib import Path
from typing import Any

import pytest

from runbook.errors import Unfit
from runbook.steps.read_old_record import STEP, OldRecord, ReadOldRecord

RECORD = """
# written by deploy.sh
export DEPLOYMENT_TIMESTAMP="2026-11-27 08:00:00"
BACKUP_DIR='old'
DB_BACKUP_FILE=db.sql.gz
MINIO_BACKUP_FILE=old/minio.tar.gz
GIT_COMMIT=0123abc
GIT_BRANCH=main
"""


@pytest.fixture
def record(tmp_path: Path) -> Path:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "db.sql.gz").touch()
    (tmp_path / "old" / "minio.tar.gz").touch()
    file = tmp_path / ".last-deployment-backup"
    file.write_text(RECORD)
    return file


def read(file: Path, context: Any) -> OldRecord:
    outputs = STEP.run(ReadOldRecord(file=file), context)
    assert isinstance(outputs, OldRecord)
    return outputs


def test_names_and_values_are_read_and_files_found(record: Path, make_context: Any) -> None:
    outputs = read(record, make_context())

    assert outputs.dump == str(record.parent / "old" / "db.sql.gz")
    assert outputs.archive == str(record.parent / "old" / "minio.tar.gz")
    assert (outputs.commit, outputs.branch) == ("0123abc", "main")
    assert outputs.taken_at == "2026-11-27 08:00:00"


@pytest.mark.parametrize(
    "line",
    [
        "GIT_COMMIT=$(touch owned)",
        "GIT_COMMIT=`touch owned`",
        "GIT_BRANCH=a; touch owned",
        "touch owned",
        "LD_PRELOAD=/evil.so",
        "GIT_BRANCH='a",
    ],
)
def test_whatever_else_stands_there_is_refused_with_its_line(
    record: Path, line: str, make_context: Any, tmp_path: Path
) -> None:
    record.write_text(f"{RECORD}{line}\n")

    with pytest.raises(Unfit) as caught:
        read(record, make_context())

    assert "line 9 of" in caught.value.message
    assert not (tmp_path / "owned").exists()


def test_a_file_that_is_gone_is_named(record: Path, make_context: Any) -> None:
    (record.parent / "old" / "db.sql.gz").unlink()

    with pytest.raises(Unfit) as caught:
        read(record, make_context())

    assert "`DB_BACKUP_FILE`" in caught.value.message
