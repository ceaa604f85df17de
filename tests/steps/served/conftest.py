"""A real HTTP server that says what a test tells it to, and a service to start as a process."""

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

from runbook.resources import Process, ReadyCheck
from runbook.tools import daemon

SERVICE = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (str(os.getpid()) + " " + os.environ.get("GREETING", "")).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
if len(sys.argv) > 3:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[2], "a") as starts:
    starts.write("started\\n")
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass(kw_only=True)
class Web:
    """What the server answers, in order; the last answer stays."""

    url: str = ""
    answers: list[tuple[int, str]] = field(default_factory=lambda: [(200, '{"status": "ok"}')])
    asked: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    delay: Callable[[], None] = lambda: None


@pytest.fixture
def web() -> Iterator[Web]:
    """A server on a free port."""
    state = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            state.headers = dict(self.headers)
            state.delay()
            status, body = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that is not started yet; notes each start in a file."""

    process: Process
    url: str
    starts: Path

    @property
    def start_count(self) -> int:
        return len(self.starts.read_text().splitlines()) if self.starts.exists() else 0

    def changed(self, **fields: Any) -> Process:
        return Process(**{**dict(self.process), **fields})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service on a free port; stopped when the test is over."""
    port = free_port()
    starts = tmp_path / "starts"
    process = Process(
        name="web",
        argv=[sys.executable, "-c", SERVICE, str(port), str(starts)],
        directory=tmp_path,
        environment={"GREETING": "hello"},
        ready=ReadyCheck(get=f"http://127.0.0.1:{port}/", timeout=15.0),
        stop_grace=5.0,
    )
    yield Service(process=process, url=f"http://127.0.0.1:{port}", starts=starts)
    quick = Process(**{**dict(process), "stop_grace": 0.1})
    daemon.stop(quick, state_dir=tmp_path / "state", project="shop")
