"""Buckets of MinIO or any other S3 server, behind one module: listing, reading and writing objects.

Plain S3 only. The SDK is imported at use and its errors are translated here.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from runbook.errors import Absent, StepError, Unfit
from runbook.resources import S3, Compose
from runbook.secret import Secret
from runbook.tools import docker
from runbook.tools.files import fsync_file

if TYPE_CHECKING:
    from minio import Minio

_PIECE_BYTES = 1 << 20
_POOL = 16
_COPY_LIMIT_BYTES = 5 << 30
"""A server copies no more than that at once (Amazon S3 docs, CopyObject)."""


class StoredObject(BaseModel):
    """An object as the server lists it, and, once it was looked at, all that belongs to it."""

    key: str
    """Its name."""
    etag: str
    """What the server says of its content; the same content may have another."""
    size_bytes: int
    """Of its content."""
    last_modified: str
    """UTC, ISO 8601."""
    version_id: str | None = None
    """Of versioned buckets."""
    sha256: str | None = None
    """Of its content, in hex; absent where that was not read."""
    content_type: str = "application/octet-stream"
    """What it says it holds."""
    metadata: dict[str, str] = {}
    """The user's own, by lower-case name."""
    tags: dict[str, str] = {}
    """Its tags."""

    def is_same_content(self, other: "StoredObject") -> bool:
        """Whether the server says that both hold the same."""
        return (self.etag, self.size_bytes) == (other.etag, other.size_bytes)

    def is_same_besides(self, other: "StoredObject") -> bool:
        """Whether what belongs to both, besides their content, is the same."""
        ours = (self.content_type, self.metadata, self.tags)
        return ours == (other.content_type, other.metadata, other.tags)


class Bucket:
    """One bucket."""

    def __init__(self, client: "Minio", name: str) -> None:
        self._client = client
        self.name = name

    @property
    def exists(self) -> bool:
        """Whether there is one of that name."""
        return bool(self._client.bucket_exists(self.name))

    @property
    def is_versioned(self) -> bool:
        """Whether the server keeps what is overwritten and deleted."""
        return str(self._client.get_bucket_versioning(self.name).status) == "Enabled"

    def listed(self) -> dict[str, StoredObject]:
        """Every object there is now, by key; without metadata and tags."""
        found = {}
        versions = self.is_versioned
        for each in self._client.list_objects(self.name, recursive=True, include_version=versions):
            # minio 7.2 gives `is_latest` as text.
            is_latest = not versions or str(each.is_latest).lower() == "true"
            if is_latest and not each.is_delete_marker and each.object_name is not None:
                found[each.object_name] = StoredObject(
                    key=each.object_name,
                    etag=(each.etag or "").strip('"'),
                    size_bytes=each.size or 0,
                    last_modified=each.last_modified.isoformat() if each.last_modified else "",
                    version_id=each.version_id if versions else None,
                )
        return found

    def described(self, found: StoredObject) -> StoredObject:
        """The same with its metadata and tags."""
        stat = self._client.stat_object(self.name, found.key, version_id=found.version_id)
        headers = {name.lower(): str(value) for name, value in (stat.metadata or {}).items()}
        tags = self._client.get_object_tags(self.name, found.key, version_id=found.version_id)
        own = "x-amz-meta-"
        return found.model_copy(
            update={
                "content_type": stat.content_type or "application/octet-stream",
                "metadata": {
                    name.removeprefix(own): value
                    for name, value in sorted(headers.items())
                    if name.startswith(own)
                },
                "tags": dict(sorted((tags or {}).items())),
            }
        )

    def fetch(self, found: StoredObject, target: Path) -> str:
        """Write an object's content to a new file, durably; its sha256. Raises OSError."""
        digest = hashlib.sha256()
        response = self._client.get_object(self.name, found.key, version_id=found.version_id)
        try:
            with target.open("xb") as file:
                for piece in response.stream(_PIECE_BYTES):
                    digest.update(piece)
                    file.write(piece)
        finally:
            response.close()
            response.release_conn()
        fsync_file(target)
        return digest.hexdigest()

    def put(self, wanted: StoredObject, content: Path) -> None:
        """Write an object with all that belongs to it."""
        with content.open("rb") as file:
            self._client.put_object(
                self.name,
                wanted.key,
                file if wanted.size_bytes else io.BytesIO(),
                wanted.size_bytes,
                content_type=wanted.content_type,
                metadata=dict(wanted.metadata),
                tags=_tags(wanted.tags),
            )

    def copy_version(self, wanted: StoredObject) -> None:
        """Make an older version the newest one, by the server itself."""
        from minio.commonconfig import ComposeSource, CopySource

        if wanted.size_bytes < _COPY_LIMIT_BYTES:
            source = CopySource(self.name, wanted.key, version_id=wanted.version_id)
            self._client.copy_object(self.name, wanted.key, source)
        else:
            part = ComposeSource(self.name, wanted.key, version_id=wanted.version_id)
            self._client.compose_object(self.name, wanted.key, [part])

    def delete(self, key: str) -> None:
        """Delete an object; in a versioned bucket it is only marked."""
        self._client.remove_object(self.name, key)


def _tags(tags: Mapping[str, str]) -> Any:
    from minio.commonconfig import Tags

    if not tags:
        return None
    made = Tags.new_object_tags()
    made.update(tags)
    return made


@contextmanager
def bucket(resource: S3, resources: Mapping[str, Any]) -> Iterator[Bucket]:
    """The bucket of a resource; a service of a stack that does not run is started.

    Raises:
        Unfit: the server does not answer, or refuses us.
        StepError: it refuses a request.
    """
    import urllib3
    from minio import Minio
    from minio.error import MinioException, S3Error

    _read_any_time()
    url = resource.url or _service_url(resource, resources)
    parts = urlsplit(url)
    pool = urllib3.PoolManager(
        maxsize=_POOL, timeout=urllib3.Timeout(connect=5.0, read=300.0), retries=_retries()
    )
    client = Minio(
        endpoint=parts.netloc,
        access_key=_plain(resource.access_key),
        secret_key=_plain(resource.secret_key),
        secure=parts.scheme == "https",
        region=resource.region,
        http_client=pool,
    )
    try:
        yield Bucket(client, resource.bucket)
    except S3Error as error:
        if error.code in _REFUSED:
            raise Unfit(
                f"the server at {url} refuses us: {error.code}",
                hint="check `access_key` and `secret_key`",
            ) from error
        raise StepError(f"bucket `{resource.bucket}`: {error.code}: {error.message}") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise Unfit(
            f"the server at {url} does not answer: {type(error).__name__}",
            hint="see whether it runs, and whether the address is right",
        ) from error
    finally:
        pool.clear()


def _read_any_time() -> None:
    """minio 7.2 reads no more than six digits of a second; some servers give nine."""
    import minio.datatypes as theirs
    from minio.time import from_iso8601utc

    def read(text: str | None) -> Any:
        return from_iso8601utc(re.sub(r"(\.\d{6})\d+Z$", r"\1Z", text) if text else text)

    vars(theirs)["from_iso8601utc"] = read


_REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")


def _retries() -> Any:
    import urllib3

    # MinIO, while it starts, asks for a minute of patience and is there after a second.
    return urllib3.Retry(
        total=8,
        connect=3,
        backoff_factor=0.1,
        status_forcelist=[500, 502, 503, 504],
        respect_retry_after_header=False,
    )


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _service_url(resource: S3, resources: Mapping[str, Any]) -> str:
    stack_name, _, service = (resource.service or "").partition("/")
    stack = resources.get(stack_name)
    if not isinstance(stack, Compose):
        raise Unfit(f"`service: {resource.service}` names no stack: `{stack_name}` is none")
    with docker.engine() as client:
        found = docker.containers(client, stack.project, service)
        if not found:
            raise Absent(
                f"service `{service}` of stack `{stack_name}` has no container yet", changed=False
            )
        if found[0].status != "running":
            found[0].start()
            found[0].reload()
        networks = found[0].attrs["NetworkSettings"]["Networks"].values()
        address = next((each["IPAddress"] for each in networks if each["IPAddress"]), "127.0.0.1")
    return f"http://{address}:{resource.port}"
