"""Buckets on real S3 servers, MinIO's and another: backed up, brought back, and nothing is lost."""

import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3

from runbook.core.plan import JsonObject
from runbook.errors import Unfit
from runbook.kinds import CompletedStep, Result
from runbook.resources import S3
from runbook.restore.buckets import opened
from runbook.steps import backup_bucket, load_restore_point, restore_bucket, seal_restore_point
from runbook.steps.backup_bucket import BackupBucket
from runbook.steps.load_restore_point import LoadRestorePoint
from runbook.steps.restore_bucket import RestoreBucket
from runbook.steps.seal_restore_point import SealRestorePoint
from runbook.tools.objects import Bucket, StoredObject
from tests.conftest import Eventually
from tests.real import ground
from tests.steps.conftest import MakeContext, RealContext

pytestmark = [pytest.mark.real, pytest.mark.slow]

USER, PASSWORD = "shopkeeper", "hush-hush-hush"
State = dict[str, tuple[bytes, dict[str, str], dict[str, str]]]
"""Body, headers and tags by key."""
HEADERS = {
    "Cache-Control": "max-age=3",
    "Content-Disposition": 'attachment; filename="ü Å.txt"',
    "Content-Encoding": "gzip",
    "Content-Language": "de",
    "Content-Type": "text/plain; charset=x-odd",
    "Expires": "Sun, 01 Dec 2030 16:00:00 GMT",
    "x-amz-website-redirect-location": "/elsewhere",
    "x-amz-meta-name": "Ünï Å  two  spaces",
    "x-amz-meta-empty": "",
    "x-amz-meta-Under_Score": 'a,b;c="d"',
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-tagging": "colour=red&note=a%20b%2B%3D",
}
ODD_KEYS = [
    "folder/",
    " leading and trailing ",
    "percent%2Fencoded",
    "plus+and?query=1#fragment",
    "a&<>'\"b\\\tc",
    "deep/er/ключ e\u0301.bin",
    "line\u2028after\x85line",
    "/".join(["s" * 99] * 9),
]
PART_BYTES = 6 << 20


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(kw_only=True)
class Store:
    """A bucket on a server of a test's own."""

    url: str
    bucket: str
    client: Any
    make_context: MakeContext
    completed: list[CompletedStep] = field(default_factory=list)

    @property
    def resource(self) -> S3:
        keys = {"access_key": USER, "secret_key": PASSWORD}
        return S3.model_validate({"name": "files", "url": self.url, "bucket": self.bucket, **keys})

    def put(self, key: str, body: bytes, **fields: Any) -> None:
        self.client.put_object(self.bucket, key, io.BytesIO(body), len(body), **fields)

    def put_with(self, key: str, body: bytes, headers: dict[str, str]) -> None:
        """With headers that the SDK would not take."""
        with opened(self.resource, self.context("put")) as there:
            there._client._execute("PUT", self.bucket, key, body=body, headers=dict(headers))

    def delete(self, key: str) -> None:
        self.client.remove_object(self.bucket, key)

    def state(self) -> State:
        """Every object with all that belongs to it."""
        found: State = {}
        names = {name.lower() for name in HEADERS}
        for each in self.client.list_objects(self.bucket, recursive=True):
            answer = self.client.get_object(self.bucket, each.object_name)
            body = answer.read(decode_content=False)
            headers = {
                name.lower(): value
                for name, value in answer.headers.items()
                if name.lower() in names or name.lower().startswith("x-amz-meta-")
            }
            answer.release_conn()
            tags = self.client.get_object_tags(self.bucket, each.object_name)
            found[each.object_name] = (body, headers, dict(tags or {}))
        return found

    def kept_aside(self, replaced: str) -> dict[str, bytes]:
        """What a restore has replaced, by key."""
        kept = {}
        for line in (Path(replaced) / "objects.jsonl").read_text().splitlines():
            one = json.loads(line)
            if one["file"]:
                kept[one["key"]] = (Path(replaced) / one["file"]).read_bytes()
            else:
                version = one["version_id"]
                answer = self.client.get_object(self.bucket, one["key"], version_id=version)
                kept[one["key"]] = answer.read(decode_content=False)
                answer.release_conn()
        return kept

    def context(self, step_id: str, **fields: Any) -> RealContext:
        resources = {"files": self.resource}
        return self.make_context(
            step_id=step_id, resources=resources, completed=list(self.completed), **fields
        )

    def did(self, kind: Any, step_id: str, spec: Any) -> Any:
        result = kind.STEP.run(spec, self.context(step_id))
        outputs = result.outputs if isinstance(result, Result) else result
        dumped: JsonObject = outputs.model_dump(mode="json")
        name = kind.__name__.rpartition(".")[2]
        self.completed.append(CompletedStep(id=step_id, kind=name, outputs=dumped, changed=False))
        return result

    def back_up(self, step_id: str = "objects") -> str:
        """Back up, seal, load; the restore point's id."""
        self.did(backup_bucket, step_id, BackupBucket(bucket=self.resource))
        sealed = self.did(seal_restore_point, f"seal_{step_id}", SealRestorePoint())
        point = str(sealed.outputs.id)
        self.did(load_restore_point, "point", LoadRestorePoint(point=point))
        return point

    def restore(self) -> Any:
        return self.did(restore_bucket, "back", RestoreBucket(bucket=self.resource)).outputs


def minio(root: Path, port: int) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD}
    argv = [str(ground.install_go(ground.MINIO)), "server", str(root / "data"), "--quiet"]
    return subprocess.Popen([*argv, "--address", f"127.0.0.1:{port}"], env=environ)


def versitygw(root: Path, port: int) -> subprocess.Popen[bytes]:
    (root / "data").mkdir()
    (root / "versions").mkdir()
    environ = {**os.environ, "ROOT_ACCESS_KEY": USER, "ROOT_SECRET_KEY": PASSWORD}
    argv = [str(ground.install_go(ground.VERSITYGW)), "--port", f"127.0.0.1:{port}", "posix"]
    places = ["--versioning-dir", str(root / "versions"), str(root / "data")]
    return subprocess.Popen([*argv, *places], env=environ, stdout=subprocess.DEVNULL)


SERVERS = {"minio": minio, "versitygw": versitygw}


@pytest.fixture(scope="module", params=[*SERVERS])
def server(
    request: pytest.FixtureRequest,
    engine: None,
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Eventually,
) -> Iterator[str]:
    """The address of a server that serves."""
    port = free_port()
    process = SERVERS[request.param](tmp_path_factory.mktemp("server"), port)

    def answers() -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with closing(connection), suppress(OSError):
            connection.request("GET", "/minio/health/ready")
            with connection.getresponse() as answer:
                return answer.status != 503
        return False

    eventually(answers, "it serves", within_s=60.0)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(server: str, make_context: MakeContext) -> MakeStore:
    """`make_store(versioned=…)`: a bucket with objects of all sorts."""
    from minio import Minio

    client = Minio(
        endpoint=server.removeprefix("http://"),
        access_key=USER,
        secret_key=PASSWORD,
        secure=False,
        region="us-east-1",
        # Right after its start MinIO asks for a minute of patience.
        http_client=urllib3.PoolManager(
            maxsize=8,
            retries=urllib3.Retry(
                total=9,
                backoff_factor=0.1,
                status_forcelist=[503],
                respect_retry_after_header=False,
            ),
        ),
    )

    def make(*, versioned: bool = False, locked: bool = False) -> Store:
        name = f"files-{uuid4().hex[:8]}"
        client.make_bucket(name, object_lock=locked)
        made = Store(url=server, bucket=name, client=client, make_context=make_context)
        if versioned:
            set_versions(made, "Enabled")
        made.put_with("a.txt", gzip.compress(b"one"), HEADERS)
        made.put("empty", b"")
        made.put("large", os.urandom(2 * PART_BYTES), part_size=PART_BYTES)
        for key in ODD_KEYS:
            made.put(key, b"" if key.endswith("/") else key.encode())
        return made

    return make


def set_versions(store: Store, status: str) -> None:
    from minio.versioningconfig import VersioningConfig

    store.client.set_bucket_versioning(store.bucket, VersioningConfig(status))


@pytest.fixture(params=[False, True], ids=["plain", "versioned"])
def store(request: pytest.FixtureRequest, make_store: MakeStore) -> Store:
    """A bucket of either sort."""
    return make_store(versioned=request.param)


def change(store: Store) -> None:
    """Change content, tags or headers alone, all, or parts; delete some, add some."""
    from minio.commonconfig import Tags

    store.put("a.txt", b"two")
    store.put("large", os.urandom(2 * PART_BYTES), part_size=PART_BYTES)
    store.put("empty", b"", metadata={"now": "told"})
    other = Tags.new_object_tags()
    other["colour"] = "blue"
    store.client.set_object_tags(store.bucket, ODD_KEYS[1], other)
    for key in [ODD_KEYS[0], *ODD_KEYS[2:]]:
        store.delete(key)
    store.put("new", b"new")


def test_every_object_comes_back_with_all_that_belongs_to_it(store: Store) -> None:
    before = store.state()
    store.back_up()
    change(store)

    restored = store.restore()

    assert store.state() == before
    assert restored.removed == 1


def test_a_second_restore_finds_nothing_to_do(store: Store) -> None:
    store.back_up()
    change(store)
    store.restore()

    again = store.restore()

    assert (again.written, again.removed) == (0, 0)


def test_what_was_written_since_is_told_and_kept(store: Store) -> None:
    store.back_up()
    change(store)
    loaded = load_restore_point.STEP.run(
        LoadRestorePoint(point=str(store.completed[-1].outputs["id"])), store.context("again")
    )

    restored = store.restore()

    assert isinstance(loaded, load_restore_point.LoadedPoint)
    (told,) = loaded.written_since
    assert "1 objects added" in told
    assert f"{len(ODD_KEYS) - 1} deleted since" in told
    kept = store.kept_aside(restored.replaced)
    assert kept.keys() >= {"new", "a.txt", "large", "empty"}
    assert (kept["new"], kept["a.txt"]) == (b"new", b"two")


def test_the_second_backup_shares_what_has_not_changed(store: Store) -> None:
    store.back_up()
    store.put("a.txt", b"two")
    before = store.state()

    store.back_up("again")
    change(store)
    store.restore()

    assert store.state() == before
    contents = list(store.context("x").state_dir.glob("restore-points/*/buckets/files/objects/*"))
    by_name = {path.name: path.stat().st_nlink for path in contents}
    assert sorted(by_name.values()) in ([], [1, 1, *[2] * (1 + len(ODD_KEYS))])


def test_a_writer_goes_on_and_nothing_that_it_was_told_is_kept_is_lost(store: Store) -> None:
    written: list[str] = []
    enough = threading.Event()

    def write() -> None:
        while not enough.is_set():
            name = f"stream/{len(written)}"
            store.put(name, name.encode())
            written.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    store.back_up()
    enough.set()
    writer.join()
    live = store.state()

    replaced = store.restore().replaced

    (backed_up,) = [each for each in store.completed if each.id == "objects"]
    assert written
    assert set(written) <= set(live)
    removed = set(live) - set(store.state())
    assert removed <= set(store.kept_aside(replaced))
    assert int(str(backed_up.outputs["object_count"])) == len(store.state())


KILLED = """
    import os, pickle, signal, sys, threading
    from runbook.restore import buckets
    from runbook.tools.objects import Bucket
    count = [0]
    def dying(method):
        def call(self, *words):
            count[0] += 1
            if count[0] > {calls}:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(self, *words)
        return call
    for name in ("put", "copy_version", "delete", "fetch"):
        setattr(Bucket, name, dying(getattr(Bucket, name)))
    spec, context, kind = pickle.load(sys.stdin.buffer)
    import importlib
    importlib.import_module(kind).STEP.run(spec, context)
"""


@pytest.mark.parametrize("calls", [1, 4])
def test_a_restore_that_was_killed_is_finished_by_the_next(store: Store, calls: int) -> None:
    import pickle

    before = store.state()
    store.back_up()
    change(store)
    context = store.context("back")
    context.on_check = int  # type: ignore[assignment]  # what can be pickled
    order = (RestoreBucket(bucket=store.resource), context, "runbook.steps.restore_bucket")
    program = textwrap.dedent(KILLED.format(calls=calls))

    ended = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(order), check=False)
    store.restore()

    assert ended.returncode == -signal.SIGKILL
    assert store.state() == before


def test_a_damaged_object_of_an_older_restore_point_is_fetched_again(
    make_store: MakeStore,
) -> None:
    store = make_store()
    point = store.back_up()
    before = store.state()
    for path in store.context("x").state_dir.glob(
        f"restore-points/{point}/buckets/files/objects/*"
    ):
        path.write_bytes(b"rubbish")

    store.back_up("again")
    change(store)
    store.restore()

    assert store.state() == before


def test_a_damaged_object_is_refused_before_anything_is_changed(store: Store) -> None:
    point = store.back_up()
    change(store)
    before = store.state()
    contents = store.context("x").state_dir.glob(f"restore-points/{point}/buckets/files/objects/*")
    damaged = [path for path in contents if path.stat().st_size]
    for path in damaged:
        path.write_bytes(b"rubbish")

    if damaged:
        with pytest.raises(Unfit):
            store.did(load_restore_point, "point", LoadRestorePoint(point=point))
        assert store.state() == before


def test_versions_that_are_gone_are_named_before_anything_is_changed(
    make_store: MakeStore,
) -> None:
    store = make_store(versioned=True)
    (version,) = store.client.list_objects(store.bucket, prefix="a.txt", include_version=True)
    point = store.back_up()
    store.put("a.txt", b"two")
    store.did(backup_bucket, "objects", BackupBucket(bucket=store.resource))
    (second, _) = store.client.list_objects(store.bucket, prefix="a.txt", include_version=True)

    for each in (version, second):  # as a lifecycle rule does, or a person
        store.client.remove_object(store.bucket, "a.txt", version_id=each.version_id)

    with pytest.raises(Unfit, match=r"not kept the versions of `a\.txt`$"):
        store.did(load_restore_point, "point", LoadRestorePoint(point=point))
    with pytest.raises(Unfit, match=r"not kept the versions of `a\.txt`$"):
        store.did(seal_restore_point, "seal", SealRestorePoint())


def test_suspended_versions_are_no_way_back_and_content_is_kept_here(
    make_store: MakeStore,
) -> None:
    store = make_store()
    set_versions(store, "Enabled")
    store.put("since", b"first")  # what was there before has `null` versions
    before = store.state()
    point = store.back_up()
    change(store)
    store.restore()
    assert store.state() == before

    set_versions(store, "Suspended")

    with pytest.raises(Unfit, match="off or suspended"):
        store.did(load_restore_point, "point", LoadRestorePoint(point=point))
    store.back_up("again")
    change(store)
    store.restore()
    assert store.state() == before


def test_locked_versions_do_not_keep_a_bucket_from_coming_back(make_store: MakeStore) -> None:
    from minio.commonconfig import COMPLIANCE
    from minio.objectlockconfig import DAYS, ObjectLockConfig

    store = make_store(locked=True)
    store.client.set_object_lock_config(store.bucket, ObjectLockConfig(COMPLIANCE, 1, DAYS))
    store.put("locked", b"one")
    before = store.state()
    store.back_up()
    change(store)
    store.put("locked", b"two")

    store.restore()

    assert store.state() == before


def test_what_a_writer_replaces_at_the_last_moment_is_kept_aside_too(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    before = store.state()
    store.back_up()
    change(store)
    put, pending = Bucket.put, [("a.txt", b"three"), (ODD_KEYS[2], b"again")]

    def put_late(there: Bucket, wanted: StoredObject, *words: Any) -> str | None:
        for key, body in [each for each in pending if each[0] == wanted.key]:
            pending.remove((key, body))
            store.put(key, body)
        return put(there, wanted, *words)

    monkeypatch.setattr(Bucket, "put", put_late)
    restored = store.restore()

    lines = (Path(restored.replaced) / "objects.jsonl").read_text().splitlines()
    kept = [(Path(restored.replaced) / json.loads(line)["file"]).read_bytes() for line in lines]
    assert not pending
    assert {b"two", b"three", b"again", b"new"} <= set(kept)
    assert store.state() == before


@pytest.fixture
def older_server(server: str) -> Iterator[str]:
    """The same server, through one that knows no conditions."""

    class Older(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            upstream = HTTPConnection(server.removeprefix("http://"))
            with closing(upstream):
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                self.answer(answer.status, answer.headers.items(), answer.read())

        def refuse_conditions(self) -> None:
            if "If-Match" not in self.headers and "If-None-Match" not in self.headers:
                return self.forward()
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            refusal = b"<Error><Code>NotImplemented</Code></Error>"
            return self.answer(501, [("Content-Type", "application/xml")], refusal)

        def answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            is_head = self.command == "HEAD"
            for name, value in headers:
                if name.lower() not in {"connection", "transfer-encoding"} and (
                    is_head or name.lower() != "content-length"
                ):
                    self.send_header(name, value)
            if not is_head:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    for method in ("GET", "HEAD", "POST"):
        setattr(Older, f"do_{method}", Older.forward)
    for method in ("PUT", "DELETE"):
        setattr(Older, f"do_{method}", Older.refuse_conditions)
    with ThreadingHTTPServer(("127.0.0.1", 0), Older) as older:
        thread = threading.Thread(target=older.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{older.server_port}"
        older.shutdown()
        thread.join()


def test_a_server_that_knows_no_conditions_is_served_without(
    make_store: MakeStore, older_server: str
) -> None:
    store = make_store()
    before = store.state()
    store.back_up()
    change(store)
    store.url = older_server

    restored = store.restore()

    assert store.state() == before
    assert restored.removed == 1


def test_a_writer_that_goes_on_loses_nothing(store: Store) -> None:
    before = store.state()
    store.back_up()
    written: dict[str, bytes] = {}
    enough, some = threading.Event(), threading.Event()

    def write() -> None:
        while not enough.is_set():
            name = f"stream/{len(written)}"
            store.put(name, name.encode())
            written[name] = name.encode()
            if len(written) > 20:
                some.set()

    writer = threading.Thread(target=write)
    writer.start()
    some.wait()
    restored = store.restore()
    enough.set()
    writer.join()

    now = store.state()
    kept = store.kept_aside(restored.replaced)
    live = {key: body for key, (body, _, _) in now.items()}
    assert {key: now[key] for key in before} == before
    assert {key: kept.get(key, live.get(key)) for key in written} == written
    assert len(kept) > 20


def test_what_is_deleted_during_the_backup_is_not_in_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Bucket.listed

    def listed_before(there: Bucket) -> dict[str, StoredObject]:
        found = listed(there)
        versions = store.client.list_objects(store.bucket, "empty", include_version=True)
        for each in list(versions):
            store.client.remove_object(store.bucket, "empty", version_id=each.version_id)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "listed", listed_before)
        store.back_up()
    before = store.state()
    change(store)
    store.restore()

    assert "empty" not in before
    assert store.state() == before


def test_what_is_deleted_right_after_it_was_read_is_not_in_the_backup_either(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    with_what_belongs_to_it = Bucket._with

    def told_late(there: Bucket, found: StoredObject, headers: Any) -> StoredObject:
        if found.key == "a.txt":  # which has tags to be asked for
            store.delete("a.txt")
        return with_what_belongs_to_it(there, found, headers)

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "_with", told_late)
        store.back_up()
    before = store.state()
    change(store)
    store.restore()

    assert "a.txt" not in before
    assert store.state() == before


def test_a_header_that_is_no_utf_8_is_left_out_and_told(store: Store) -> None:
    for key in ("odd", "untouched"):
        url = urllib3.util.parse_url(store.client.presigned_put_object(store.bucket, key))
        connection = HTTPConnection(str(url.host), url.port)
        with closing(connection):  # what is not signed may hold any byte
            connection.putrequest("PUT", url.request_uri)
            connection.putheader("Cache-Control", "caf\xe9".encode("latin-1"))
            connection.putheader("Content-Language", "de")
            connection.putheader("Content-Length", "1")
            connection.endheaders(b"1")
            assert connection.getresponse().status == 200
    before = store.state()
    context = store.context("objects")
    backup_bucket.STEP.run(BackupBucket(bucket=store.resource), context)
    store.back_up()
    store.put("odd", b"2")

    restored = store.restore()

    after = store.state()
    assert "of object `odd` a restore could not write cache-control: no UTF-8" in context.logged
    assert restored.written == 1
    body, headers, tags = before.pop("odd")
    assert headers.pop("cache-control")
    assert after.pop("odd") == (body, headers, tags)
    assert after == before


def test_a_bucket_that_is_not_there_yet_is_absent(server: str, make_context: MakeContext) -> None:
    resource = S3(url=server, bucket="nowhere", access_key=USER, secret_key=PASSWORD, name="files")

    result = backup_bucket.STEP.run(
        BackupBucket(bucket=resource), make_context(resources={"files": resource})
    )

    assert isinstance(result, Result)
    assert result.outputs.absent


def test_a_wrong_key_and_a_wrong_address_are_said_with_what_to_check(
    server: str, make_context: MakeContext
) -> None:
    wrong = S3(url=server, bucket="files", access_key=USER, secret_key="wrong-wrong", name="files")
    nowhere = wrong.model_copy(update={"url": f"http://127.0.0.1:{free_port()}"})
    assert backup_bucket.STEP.preflight is not None
    preflight: Callable[[BackupBucket, Any], Any] = backup_bucket.STEP.preflight

    refused = preflight(BackupBucket(bucket=wrong), make_context())
    silent = preflight(BackupBucket(bucket=nowhere), make_context())

    assert "refuses us" in refused[0]
    assert "does not answer" in silent[0]
