"""The lists of buckets: read as they were written, and compared without keeping all versions."""

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook.errors import Unfit
from runbook.restore.buckets import lacking, listed
from runbook.restore.manifest import BucketEntry, Manifest
from runbook.restore.point import artefact_of, point_id, seal, staging_dir
from runbook.steps import load_restore_point
from runbook.steps.load_restore_point import LoadRestorePoint
from runbook.tools.objects import Bucket, StoredObject
from tests.steps.conftest import MakeContext, make_context

__all__ = ["make_context"]

AT = datetime(2026, 11, 23, tzinfo=UTC)
LIST = "buckets/files/objects.jsonl"


def stored(key: str, version_id: str | None = None, **fields: Any) -> StoredObject:
    return StoredObject(
        key=key, etag="e", size_bytes=1, last_modified="", version_id=version_id, **fields
    )


def entry_of(root: Path, lines: list[str], *, is_versioned: bool = False) -> BucketEntry:
    (root / LIST).parent.mkdir(parents=True)
    (root / LIST).write_bytes("".join(f"{line}\n" for line in lines).encode())
    return BucketEntry(
        name="files",
        location="here",
        taken_at=AT.isoformat(),
        is_versioned=is_versioned,
        listing=artefact_of(root, LIST),
    )


def test_a_key_may_hold_what_some_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    odd = stored("a\u2028b\u2029c\x85d", headers={"content-language": "\u2028"})
    entry = entry_of(tmp_path, [odd.model_dump_json(), stored("b").model_dump_json()])

    assert listed(tmp_path, entry) == [odd, stored("b")]


@pytest.mark.parametrize("is_versioned", [False, True])
def test_a_list_of_an_older_form_is_refused_when_the_restore_point_is_loaded(
    make_context: MakeContext, is_versioned: bool
) -> None:
    context = make_context()
    older = json.dumps({"key": "a", "etag": "e", "size_bytes": 1, "last_modified": ""})
    staging = staging_dir(context.state_dir, "run-1")
    point = Manifest(
        id=point_id(AT, "older"),
        project=context.project,
        run_id="run-1",
        created_at=AT.isoformat(),
        tool_version="1",
        host="here",
        verify="checksum",
        served=True,
        buckets=(entry_of(staging, [older], is_versioned=is_versioned),),
    )
    seal(staging, point)

    with pytest.raises(Unfit, match="`files` is of an older form, without headers") as refused:
        load_restore_point.STEP.run(LoadRestorePoint(point=point.id), context)

    assert refused.value.hint == "name another restore point by `point`"


VERSIONS = 5000


class ServerOfManyVersions:
    """Lists so many versions of one object, one after the other."""

    def get_bucket_versioning(self, name: str) -> Any:
        return SimpleNamespace(status="Enabled")

    def list_objects(self, name: str, **_: bool) -> Iterator[Any]:
        for number in range(VERSIONS):
            yield SimpleNamespace(
                object_name="a",
                etag='"e"',
                size=1,
                last_modified=AT,
                version_id=str(number),
                is_latest="false",
                is_delete_marker=False,
            )


def test_of_all_versions_only_the_wanted_ones_are_kept_in_memory(tmp_path: Path) -> None:
    wanted = [stored("a", "7"), stored("a", "gone"), stored("b", "8")]
    lines = [each.model_dump_json() for each in wanted]
    entry = entry_of(tmp_path, lines, is_versioned=True)
    client: Any = ServerOfManyVersions()

    tracemalloc.start()
    try:
        told = lacking(Bucket(client, "files"), tmp_path, entry)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert told == ["bucket `files` has not kept the versions of `a`, `b`"]
    assert peak_bytes < 100 * VERSIONS
