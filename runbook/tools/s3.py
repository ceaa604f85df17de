"""How an S3 server is reached: its address, the keys, exact requests, and its errors in words."""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from runbook.errors import StepError, Unfit
from runbook.resources import S3
from runbook.secret import Secret
from runbook.tools import servers
from runbook.tools.objects import Bucket

_POOL = 16
_CONNECT_S = 5.0
_LOOK_S = 60.0
_CHANGE_S = 300.0
"""A server answers once it has copied: up to 5 GB."""
_CHECK_S = 0.2
T = TypeVar("T")


@contextmanager
def bucket(
    resource: S3,
    resources: Mapping[str, Any],
    *,
    check: Callable[[], None],
    log: Callable[[str], None],
) -> Iterator[Bucket]:
    """The bucket of a resource; a service of a stack that does not run is started.

    Raises:
        Absent: the server is a service that has no container yet.
        Unfit: the server does not run, does not answer, or refuses us.
        StepError: it refuses a request.
    """
    import urllib3
    from minio import Minio
    from minio.error import MinioException, S3Error

    _read_any_time()
    url = resource.url or _service_url(resource, resources, check, log)
    parts = urlsplit(url)
    pool = _pool(check)
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
        name = f"bucket `{resource.bucket}`"
        where = f"{name}, object `{error.object_name}`" if error.object_name else name
        raise StepError(f"{where}: {error.code}: {error.message}") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise Unfit(
            f"the server at {url} does not answer: {type(error).__name__}",
            hint="see whether it runs, and whether the address is right",
        ) from error
    finally:
        pool.clear()


def _service_url(
    resource: S3,
    resources: Mapping[str, Any],
    check: Callable[[], None],
    log: Callable[[str], None],
) -> str:
    found = servers.running(
        resource, resources, data_dirs=servers.writable_mounts, check=check, log=log
    )
    return f"http://{found.host}:{resource.port}"


def _read_any_time() -> None:
    """minio 7.2 reads no more than six digits of a second; some servers give nine."""
    import minio.datatypes as theirs
    from minio.time import from_iso8601utc

    def read(text: str | None) -> Any:
        return from_iso8601utc(re.sub(r"(\.\d{6})\d+Z$", r"\1Z", text) if text else text)

    vars(theirs)["from_iso8601utc"] = read


_REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")


def _pool(check: Callable[[], None]) -> Any:
    import urllib3

    class Exact(urllib3.PoolManager):
        """Sends what was signed: header values as UTF-8, and no key as a path to be tidied up."""

        def urlopen(self, method: str, url: str, *words: Any, **named: Any) -> Any:
            named["headers"] = {
                name: value.encode() if isinstance(value, str) else value
                for name, value in (named.get("headers") or {}).items()
            }
            read_s = _LOOK_S if method in ("GET", "HEAD") else _CHANGE_S
            named["timeout"] = urllib3.Timeout(connect=_CONNECT_S, read=read_s)
            send = super().urlopen
            return _awaited(lambda: send(method, _exact(url), *words, **named), check)

    # MinIO, while it starts, asks for a minute of patience and is there after a second.
    retries = urllib3.Retry(
        total=8,
        connect=3,
        read=1,
        backoff_factor=0.1,
        status_forcelist=[500, 502, 503, 504],
        respect_retry_after_header=False,
    )
    return Exact(maxsize=_POOL, retries=retries)


def _awaited(work: Callable[[], T], check: Callable[[], None]) -> T:
    """What it gives; what `check` raises meanwhile ends the wait, and the work is left to itself.

    A request is not tried anew then: its pool is closed.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 — raised where it is awaited
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    while wait([future], timeout=_CHECK_S).not_done:
        check()
    return future.result()


def _exact(url: str) -> str:
    parts = urlsplit(url)
    dots = {".": "%2E", "..": "%2E%2E"}
    path = "/".join(dots.get(segment, segment) for segment in parts.path.split("/"))
    return urlunsplit(parts._replace(path=path))


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
