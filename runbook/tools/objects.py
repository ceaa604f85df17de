"""The objects of a bucket, of MinIO or any other S3 server: listed, read and written to the byte.

Plain S3 only. Requests go out by the SDK's inner methods where its outer ones would alter what is
written: they take no `Expires`, no metadata beyond ASCII, and no condition.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from runbook.errors import StepError

if TYPE_CHECKING:
    from minio import Minio

_PIECE_BYTES = 1 << 20
_COPY_LIMIT_BYTES = 5 << 30
"""A server copies no more than that at once (Amazon S3 docs, CopyObject)."""
_COPY_PART_BYTES = 512 << 20
_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
)
_OWN = "x-amz-meta-"
_CLASSES = ("REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR")
"""Storage classes that one may write; the default and a server's own tiers are not asked for."""
_GONE = ("NoSuchKey", "NoSuchVersion", "MethodNotAllowed")
_UNKNOWN = "NotImplemented"
_OVERTAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", _UNKNOWN)


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
    headers: dict[str, str] = {}
    """Content type and encoding, caching, redirect and the like, by lower-case name."""
    metadata: dict[str, str] = {}
    """The user's own, by lower-case name."""
    tags: dict[str, str] = {}
    """Its tags."""
    unwritable: dict[str, str] = {}
    """Headers that are no UTF-8, read as Latin-1: they cannot be signed, so not written again."""

    def is_same_content(self, other: "StoredObject") -> bool:
        """Whether the server says that both hold the same."""
        return (self.etag, self.size_bytes) == (other.etag, other.size_bytes)

    def is_same_besides(self, other: "StoredObject") -> bool:
        """Whether what belongs to both, besides their content, is the same."""
        ours = (self.headers, self.metadata, self.tags)
        return ours == (other.headers, other.metadata, other.tags)


class Bucket:
    """One bucket. `check` is called between the pieces of an object, and may raise."""

    def __init__(self, client: "Minio", name: str) -> None:
        self._client: Any = client
        self.name = name

    @property
    def exists(self) -> bool:
        """Whether there is one of that name."""
        return bool(self._client.bucket_exists(self.name))

    @property
    def is_versioned(self) -> bool:
        """Whether the server keeps what is overwritten and deleted."""
        return str(self._client.get_bucket_versioning(self.name).status) == "Enabled"

    # --- looking ----------------------------------------------------------------------------

    def listed(self) -> dict[str, StoredObject]:
        """Every object there is now, by key; without what only a look at each tells."""
        if self.is_versioned:
            return {found.key: found for found, is_latest in self._versions() if is_latest}
        listing = map(_of_listing, self._client.list_objects(self.name, recursive=True))
        return {each.key: each for each in listing}

    def versions(self) -> Iterator[StoredObject]:
        """Every version of every object, of which there may be very many; no delete markers."""
        return (found for found, _ in self._versions())

    def _versions(self) -> Iterator[tuple[StoredObject, bool]]:
        listing = self._client.list_objects(self.name, recursive=True, include_version=True)
        for each in listing:
            if not each.is_delete_marker:
                # minio 7.2 gives `is_latest` as text.
                yield _of_listing(each), str(each.is_latest).lower() == "true"

    def described(self, found: StoredObject) -> StoredObject | None:
        """What is there now under its key, with all that belongs to it; None: it is gone."""
        from minio.error import S3Error

        try:
            stat = self._client.stat_object(self.name, found.key)
            return self._with(found, stat.metadata)
        except S3Error as error:
            self._require_gone(found, error)
            return None

    def _with(self, found: StoredObject, headers: Mapping[str, str]) -> StoredObject:
        said, unwritable = _texts(headers)
        etag = said.get("etag", "").strip('"')
        modified = said.get("last-modified")
        tags = {}
        if said.get("x-amz-tagging-count", "0") != "0":
            tags = self._client.get_object_tags(self.name, found.key)
        if said.get("x-amz-storage-class") not in _CLASSES:
            said.pop("x-amz-storage-class", None)
        own = {n.removeprefix(_OWN): v for n, v in sorted(said.items()) if n.startswith(_OWN)}
        update: dict[str, Any] = {
            "headers": {name: said[name] for name in _HEADERS if name in said},
            "metadata": own,
            "tags": dict(sorted((tags or {}).items())),
            "unwritable": unwritable,
        }
        version = said.get("x-amz-version-id", "null") if found.version_id else None
        if (etag, version) != (found.etag, found.version_id):  # overwritten since it was listed
            update |= {"etag": etag, "version_id": version}
            update["size_bytes"] = int(said.get("content-length", found.size_bytes))
            if modified:
                update["last_modified"] = parsedate_to_datetime(modified).isoformat()
        return found.model_copy(update=update)

    def _require_gone(self, found: StoredObject, error: Any) -> None:
        """Make sure that the object was deleted since it was listed."""
        if error.code not in _GONE:
            raise error
        again = self._client.list_objects(self.name, prefix=found.key, recursive=True)
        first = next(iter(again), None)
        if first is not None and first.object_name == found.key:
            raise StepError(
                f"object `{found.key}` of bucket `{self.name}` is listed and cannot be read"
            ) from error

    # --- reading ----------------------------------------------------------------------------

    def fetch(
        self, found: StoredObject, target: Path, check: Callable[[], None]
    ) -> StoredObject | None:
        """Write an object's content, as it is stored, to a new file; None: it is gone.

        What is told of the object is what it was when it was read. Raises OSError.
        """
        with target.open("xb") as file:
            return self._read(found, file.write, check)

    def sha256_of(self, found: StoredObject, check: Callable[[], None]) -> str | None:
        """Of the content of an object, or of its version, in hex; None: it is gone."""
        whole = self._read(found, len, check)
        return whole.sha256 if whole else None

    def _read(
        self, found: StoredObject, take: Callable[[bytes], object], check: Callable[[], None]
    ) -> StoredObject | None:
        from minio.error import S3Error

        digest, size_bytes = hashlib.sha256(), 0
        try:
            response = self._client.get_object(self.name, found.key, version_id=found.version_id)
            try:
                for piece in response.stream(_PIECE_BYTES, decode_content=False):
                    check()
                    digest.update(piece)
                    size_bytes += len(piece)
                    take(piece)
            finally:
                response.close()
                response.release_conn()
            whole = self._with(found, response.headers)
        except S3Error as error:
            self._require_gone(found, error)
            return None
        return whole.model_copy(update={"sha256": digest.hexdigest(), "size_bytes": size_bytes})

    # --- writing ----------------------------------------------------------------------------

    def put(
        self, wanted: StoredObject, content: Path, replacing: str | None, check: Callable[[], None]
    ) -> str | None:
        """Write an object, in place of the one of that etag, or of none; its new etag.

        None: meanwhile another object stands there, or none does. An empty one needs no content.
        """
        from minio.error import S3Error

        condition = {"If-Match": f'"{replacing}"'} if replacing else {"If-None-Match": "*"}
        try:
            return self._put(wanted, content, condition, check)
        except S3Error as error:
            if error.code not in _OVERTAKEN:
                raise
        # Some servers know no conditions, some take the mark of a deleted object for an object.
        now = self.described(wanted)
        if (now.etag if now else None) != replacing:
            return None
        return self._put(wanted, content, {}, check)

    def _put(
        self,
        wanted: StoredObject,
        content: Path,
        condition: dict[str, str],
        check: Callable[[], None],
    ) -> str:
        from minio.helpers import get_part_info

        headers = _headers_of(wanted)
        part_bytes, count = get_part_info(wanted.size_bytes, 0)
        if count == 1:
            body = content.read_bytes() if wanted.size_bytes else b""
            put = self._client._put_object
            return str(put(self.name, wanted.key, body, headers | condition).etag)
        with content.open("rb") as file:

            def upload(upload_id: str, number: int) -> str:
                check()
                part = file.read(part_bytes)
                words = (self.name, wanted.key, part, None, upload_id, number)
                return str(self._client._upload_part(*words))

            return self._in_parts(wanted, count, upload, headers, condition)

    def copy_version(self, wanted: StoredObject, check: Callable[[], None]) -> str:
        """Make an older version the newest one, by the server itself; its etag."""
        try:
            return self._copy_version(wanted, check)
        except ValueError as error:  # a server may begin to answer before it has copied
            raise StepError(
                f"bucket `{self.name}`, object `{wanted.key}`: the server gave up copying it"
            ) from error

    def _copy_version(self, wanted: StoredObject, check: Callable[[], None]) -> str:
        from minio.commonconfig import CopySource
        from minio.datatypes import parse_copy_object

        source = CopySource(self.name, wanted.key, version_id=wanted.version_id).gen_copy_headers()
        headers = _headers_of(wanted)
        if wanted.size_bytes < _COPY_LIMIT_BYTES:
            replace = {f"x-amz-{name}-directive": "REPLACE" for name in ("metadata", "tagging")}
            words = headers | source | replace
            response = self._client._execute("PUT", self.name, wanted.key, headers=words)
            return str(parse_copy_object(response)[0])

        def upload(upload_id: str, number: int) -> str:
            check()
            first = (number - 1) * _COPY_PART_BYTES
            last = min(first + _COPY_PART_BYTES, wanted.size_bytes) - 1
            words = source | {"x-amz-copy-source-range": f"bytes={first}-{last}"}
            copy = self._client._upload_part_copy
            return str(copy(self.name, wanted.key, upload_id, number, words)[0])

        count = -(-wanted.size_bytes // _COPY_PART_BYTES)
        return self._in_parts(wanted, count, upload, headers, {})

    def _in_parts(
        self,
        wanted: StoredObject,
        count: int,
        upload: Callable[[str, int], str],
        headers: dict[str, str],
        condition: dict[str, str],
    ) -> str:
        from minio.datatypes import CompleteMultipartUploadResult

        place = (self.name, wanted.key)
        upload_id = self._client._create_multipart_upload(*place, headers)
        try:
            parts = "".join(
                f"<Part><PartNumber>{n}</PartNumber><ETag>{upload(upload_id, n)}</ETag></Part>"
                for n in range(1, count + 1)
            )
            body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
            whole = {"Content-Type": "application/xml", **condition}
            query = {"uploadId": upload_id}
            answer = self._client._execute("POST", *place, body, whole, query)
            etag = CompleteMultipartUploadResult(answer).etag
            if etag is None:
                raise StepError(f"object `{wanted.key}` of bucket `{self.name}` was not completed")
        except BaseException:
            self._client._abort_multipart_upload(*place, upload_id)
            raise
        return str(etag)

    def mark_deleted(self, key: str) -> None:
        """Delete an object of a versioned bucket: it is only marked."""
        self._client.remove_object(self.name, key)

    def delete(self, found: StoredObject) -> bool:
        """Delete an object for good, unless meanwhile another stands there."""
        from minio.error import S3Error

        now = self.described(found)
        if now is None or not now.is_same_content(found):
            return False
        try:
            # Some servers pass over this condition, hence the look before; some refuse it.
            condition = {"If-Match": f'"{found.etag}"'}
            self._client._execute("DELETE", self.name, found.key, headers=condition)
        except S3Error as error:
            if error.code not in _OVERTAKEN:
                raise
            if error.code != _UNKNOWN:
                return False
            self._client.remove_object(self.name, found.key)
        return True


def _of_listing(each: Any) -> StoredObject:
    # Of an empty object that is named as a folder, servers keep no versions.
    is_folder = not each.size and each.object_name.endswith("/")
    return StoredObject(
        key=each.object_name,
        etag=(each.etag or "").strip('"'),
        size_bytes=each.size or 0,
        last_modified=each.last_modified.isoformat() if each.last_modified else "",
        version_id=None if is_folder else each.version_id,
    )


def _texts(headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """By lower-case name the values that are UTF-8, and the others; all arrive as Latin-1."""
    texts, others = {}, {}
    for name, value in headers.items():
        try:
            texts[name.lower()] = str(value).encode("latin-1").decode()
        except UnicodeDecodeError:
            others[name.lower()] = str(value)
    return texts, others


def _headers_of(wanted: StoredObject) -> dict[str, str]:
    # The SDK looks for `Content-Type` in this spelling.
    headers = {name.title(): value for name, value in wanted.headers.items()}
    headers |= {f"{_OWN}{name}": value for name, value in wanted.metadata.items()}
    if wanted.tags:
        headers["x-amz-tagging"] = urlencode(wanted.tags, quote_via=quote)
    return headers
