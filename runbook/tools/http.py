"""HTTP: one request, and what came of it. The only module that knows the HTTP library.

What an answer means is not judged here; only whether there was one, and if not, whose fault it was.
"""

import errno
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from runbook.errors import ParametersInvalid
from runbook.secret import Secret
from runbook.units import format_duration

_BODY_LIMIT_BYTES = 4 << 20
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_OURS = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
        *(errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENETUNREACH),
    }
)
"""Errors that say that we could not ask, not that nobody answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    timeout_s: float = 5.0
    """How long the whole answer may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    """The first 4 MiB of it."""
    seconds: float

    @property
    def text(self) -> str:
        """The body, as far as it is text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON; raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """Nothing came back."""

    reason: str
    """In words that are the same whenever the same thing happens."""
    is_ours: bool
    """We could not ask: our own resolver, network or resources failed."""
    seconds: float


def load() -> None:
    """Load the HTTP library now, for one whose first question must not wait for that."""
    import httpx  # noqa: F401 - loading it is the point


def ask(request: Request) -> Answer | NoAnswer:
    """Send a request and wait for the answer; redirects are not followed, proxies not used.

    Raises:
        ParametersInvalid: the URL is none, or a header cannot be sent.
    """
    import httpx

    started_s = time.monotonic()
    try:
        return _exchange(request, started_s)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise ParametersInvalid(
            f"`{request.url}` is not a URL, expected one such as http://localhost:8000/health",
            changed=False,
            is_retryable=False,
        ) from error
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        reason, is_ours = _why(error, request.timeout_s)
        return NoAnswer(reason=reason, is_ours=is_ours, seconds=time.monotonic() - started_s)


def _exchange(request: Request, started_s: float) -> Answer:
    import httpx

    headers = [(name.encode(), _header(name, value)) for name, value in request.headers.items()]
    # Without trust_env=False a proxy meant for the world outside would be asked for localhost.
    verify = _trusted() if request.url.lower().startswith("https:") else False
    with (
        httpx.Client(verify=verify, trust_env=False, timeout=request.timeout_s) as client,
        client.stream(request.method, request.url, headers=headers) as response,
    ):
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk[: _BODY_LIMIT_BYTES - len(body)]
            if time.monotonic() - started_s > request.timeout_s:
                raise httpx.ReadTimeout("the body dripped")
            if len(body) >= _BODY_LIMIT_BYTES:
                break
        seconds = time.monotonic() - started_s
        return Answer(status=response.status_code, body=bytes(body), seconds=seconds)


def _header(name: str, value: str | Secret) -> bytes:
    """A header's value as it is sent; raises ParametersInvalid, which never quotes it."""
    text = value.reveal() if isinstance(value, Secret) else value
    whose = f"`{value.origin}`" if isinstance(value, Secret) and value.origin else "its value"
    fault = "a line break or another control character" if _CONTROL.search(text) else ""
    fault = fault or ("blanks around it" if text != text.strip() else "")
    fault = fault or ("a character beyond Latin-1" if max(text, default="") > "\xff" else "")
    if not fault:
        return text.encode("latin-1")
    raise ParametersInvalid(
        f"header `{name}` cannot be sent: {whose} holds {fault}",
        hint="mend it where it comes from: a file may end in more than one line end",
        changed=False,
        is_retryable=False,
    )


@cache
def _trusted() -> ssl.SSLContext:
    """The system's certificates, not the ones that the HTTP library brings along."""
    return ssl.create_default_context()


def _why(error: BaseException, timeout_s: float) -> tuple[str, bool]:
    import httpx

    if isinstance(error, httpx.PoolTimeout):
        return "no connection was free", True
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {format_duration(timeout_s)}", False
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return f"the name was not resolved: {cause.strerror}", True
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or cause}", False
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused", False
        if isinstance(cause, ConnectionResetError | BrokenPipeError):
            return "connection reset", False
        if isinstance(cause, OSError) and cause.errno in _OURS:
            return f"could not ask: {cause.strerror}", True
    if isinstance(error, httpx.ConnectError):
        return "connection failed", False
    return "connection broken off", False


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
