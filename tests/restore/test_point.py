from datetime import UTC, datetime
from pathlib import Path

import pytest

from runbook.errors import Unfit
from runbook.restore.manifest import Manifest
from runbook.restore.point import (
    canonical,
    find_sealed,
    open_point,
    point_id,
    point_ids,
    point_suffix,
    require_intact,
    seal,
    staging_dir,
    write_record,
)

AT = datetime(2026, 11, 23, 5, 42, 3, 812_345, tzinfo=UTC)


def manifest(identifier: str) -> Manifest:
    return Manifest(
        id=identifier,
        project="shop",
        run_id="run-1",
        created_at=AT.isoformat(),
        tool_version="1",
        host="here",
        verify="checksum",
        served=True,
    )


def test_an_id_is_sortable_and_the_same_for_every_attempt() -> None:
    suffix = point_suffix("run-1", "seal")

    assert point_id(AT, suffix) == f"20261123T054203.812Z-{suffix}"
    assert suffix == point_suffix("run-1", "seal") != point_suffix("run-2", "seal")


def test_a_restore_point_is_there_once_it_is_sealed_and_not_before(tmp_path: Path) -> None:
    staging = staging_dir(tmp_path, "run-1")
    identifier = point_id(AT, point_suffix("run-1", "seal"))
    write_record(staging, "op", manifest(identifier))
    assert point_ids(tmp_path) == []

    sealed = seal(staging, manifest(identifier))

    assert point_ids(tmp_path) == [identifier]
    assert open_point(tmp_path, identifier) == sealed
    assert find_sealed(tmp_path, point_suffix("run-1", "seal")) == sealed
    assert sorted(p.name for p in sealed.directory.iterdir()) == [
        "manifest.json",
        "manifest.json.sha256",
    ]
    require_intact(sealed, check=lambda: None)


def test_a_manifest_of_a_newer_version_is_unfit(tmp_path: Path) -> None:
    staging = staging_dir(tmp_path, "run-1")
    staging.mkdir(parents=True)
    seal(staging, manifest("a-b").model_copy(update={"schema_version": 2}))

    with pytest.raises(Unfit, match="newer version"):
        open_point(tmp_path, "a-b")


def test_a_manifest_has_one_byte_form() -> None:
    assert canonical(manifest("a")) == canonical(
        Manifest.model_validate_json(canonical(manifest("a")))
    )
