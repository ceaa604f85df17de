"""The lists of buckets: read as they were written, and compared without keeping all versions."""

import json
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook.errors import StepError, StepStopped, Unfit
from runbook.resources import S3
from runbook.restore.bucket_restore import restore
from runbook.restore.buckets import lacking, listed, on_threads, opened
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


# --- servers that misbehave -----------------------------------------------------------------


Answer = tuple[int, str]
COPY_FAILED = "<Error><Code>InternalError</Code></Error>"


@contextmanager
def served(answer: Callable[[str], Answer]) -> Iterator[S3]:
    """A bucket on a server that answers requests, such as `PUT /files/a`, by these."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, text = answer(f"{self.command} {self.path}")
            body = text.encode()
            self.send_response_only(status)
            self.send_header("ETag", '"new"')
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    for method in ("GET", "HEAD", "PUT"):
        setattr(Handler, f"do_{method}", Handler.do)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield S3(name="files", url=url, bucket="files", access_key="a" * 8, secret_key="b" * 8)
        finally:
            server.shutdown()
            thread.join()


def test_a_restore_that_is_refused_after_its_first_write_has_changed_something(
    tmp_path: Path, make_context: MakeContext
) -> None:
    asked: list[str] = []

    def answer(request: str) -> Answer:
        asked.append(request)
        if any(each.startswith("PUT") for each in asked[:-1]):
            return 403, "<Error><Code>AccessDenied</Code></Error>"
        if "versioning" in request:
            return 200, "<VersioningConfiguration/>"
        return 200, "<ListBucketResult><Name>files</Name></ListBucketResult>"

    lines = [stored("a", headers={}).model_copy(update={"size_bytes": 0}).model_dump_json()]
    entry = entry_of(tmp_path, lines)
    point: Any = SimpleNamespace(directory=tmp_path)

    with served(answer) as resource, pytest.raises(Unfit, match="refuses us") as refused:
        restore(resource, point, entry, make_context())

    assert "PUT /files/a" in asked
    assert refused.value.changed


def test_a_copy_that_fails_after_the_server_began_to_answer_may_be_tried_again(
    make_context: MakeContext,
) -> None:
    with (
        served(lambda _: (200, COPY_FAILED)) as resource,
        pytest.raises(StepError, match="object `a`: the server gave up") as failed,
        opened(resource, make_context()) as there,
    ):
        there.copy_version(stored("a", "7"), lambda: None)

    assert failed.value.is_retryable


def test_a_server_that_accepts_and_does_not_answer_holds_nobody_who_is_stopped(
    make_context: MakeContext,
) -> None:
    def stop() -> None:
        raise StepStopped("stopped before its end")

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        silent = S3(name="files", url=url, bucket="files", access_key="a", secret_key="b")
        context = make_context(on_check=stop)

        with pytest.raises(StepStopped), opened(silent, context) as there:
            on_threads(lambda _: there.exists, range(3), context)
