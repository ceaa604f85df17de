"""Buckets on real S3 servers, MinIO's and another: backed up, brought back, and nothing is lost."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import urllib3

from runbook.core.plan import JsonObject
from runbook.errors import Unfit
from runbook.kinds import CompletedStep, Result
from runbook.resources import S3
from runbook.steps import backup_bucket, load_restore_point, restore_bucket, seal_restore_point
from runbook.steps.backup_bucket import BackupBucket
from runbook.steps.load_restore_point import LoadRestorePoint
from runbook.steps.restore_bucket import RestoreBucket
from runbook.steps.seal_restore_point import SealRestorePoint
from runbook.tools.objects import bucket
from tests.conftest import Eventually
from tests.real import ground
from tests.steps.conftest import MakeContext, RealContext

pytestmark = [pytest.mark.real, pytest.mark.slow]

USER, PASSWORD = "shopkeeper", "hush-hush-hush"
State = dict[str, tuple[bytes, dict[str, str], dict[str, str], str]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(kw_only=True)
class Store:
    """A bucket on a server of a test's own."""

    url: str
    client: Any
    make_context: MakeContext
    completed: list[CompletedStep]

    @property
    def resource(self) -> S3:
        return S3(name="files", url=self.url, bucket="files", access_key=USER, secret_key=PASSWORD)

    def put(self, key: str, body: bytes, **fields: Any) -> None:
        self.client.put_object("files", key, io.BytesIO(body), len(body), **fields)

    def state(self) -> State:
        """Every object with all that belongs to it."""
        with bucket(self.resource, {}) as there:
            found: State = {}
            for each in there.listed().values():
                whole = there.described(each)
                body = self.client.get_object("files", each.key)
                found[each.key] = (body.read(), whole.metadata, whole.tags, whole.content_type)
                body.close()
                body.release_conn()
            return found

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


@pytest.fixture(params=[*SERVERS])
def server(
    request: pytest.FixtureRequest, engine: None, tmp_path: Path, eventually: Eventually
) -> Iterator[str]:
    """The address of a server that serves."""
    port = free_port()
    process = SERVERS[request.param](tmp_path, port)

    def answers() -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with closing(connection), suppress(OSError):
            connection.request("GET", "/minio/health/ready")
            with connection.getresponse() as answer:
                return answer.status != 503
        return False

    eventually(answers, "it serves", within_s=30.0)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture(params=[False, True], ids=["plain", "versioned"])
def store(
    request: pytest.FixtureRequest, server: str, make_context: MakeContext, eventually: Eventually
) -> Store:
    """A bucket with objects of all sorts."""
    from minio import Minio
    from minio.commonconfig import ENABLED, Tags
    from minio.versioningconfig import VersioningConfig

    client = Minio(
        endpoint=server.removeprefix("http://"),
        access_key=USER,
        secret_key=PASSWORD,
        secure=False,
        region="us-east-1",
        # Right after its start MinIO asks for a minute of patience.
        http_client=urllib3.PoolManager(
            retries=urllib3.Retry(
                total=9,
                backoff_factor=0.1,
                status_forcelist=[503],
                respect_retry_after_header=False,
            )
        ),
    )
    client.make_bucket("files")
    if request.param:
        client.set_bucket_versioning("files", VersioningConfig(ENABLED))
    made = Store(url=server, client=client, make_context=make_context, completed=[])
    tags = Tags.new_object_tags()
    tags["colour"] = "red"
    made.put("a.txt", b"one", metadata={"owner": "ada"}, content_type="text/plain", tags=tags)
    made.put("empty", b"")
    made.put("deep/er/ключ und Leerzeichen.bin", bytes(range(256)) * 40)
    made.put("large", os.urandom(6 << 20))
    return made


def change(store: Store) -> None:
    """Overwrite one, delete one, add one, and change no more than another's metadata."""
    store.put("a.txt", b"two")
    store.client.remove_object("files", "deep/er/ключ und Leerzeichen.bin")
    store.put("new", b"new")
    store.put("empty", b"", metadata={"now": "told"})


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
    assert "1 deleted since" in told
    if restored.replaced is None:
        versions = store.client.list_objects("files", prefix="new", include_version=True)
        assert [each.size for each in versions if not each.is_delete_marker] == [3]
    else:
        kept = {
            json.loads(path.read_text())["key"]: path.with_suffix("").read_bytes()
            for path in Path(restored.replaced).glob("*.json")
        }
        assert kept["new"] == b"new"
        assert kept["a.txt"] == b"two"


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
    assert sorted(by_name.values()) in ([], [1, 1, 2, 2, 2])


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

    store.restore()

    (backed_up,) = [each for each in store.completed if each.id == "objects"]
    assert written
    assert set(written) <= set(live)
    kept = sum(name.startswith("stream/") for name in store.state())
    assert kept <= len(written)
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


@pytest.mark.parametrize("calls", [0, 1, 2, 4])
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

    assert ended.returncode in (-signal.SIGKILL, 0)
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
