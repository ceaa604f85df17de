"""The shop under test: the demo's, but every start and every misdeed of it can be counted."""

import json
import os
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
RELEASE = json.loads((HERE / "release.json").read_text())
UPLOADS = Path(os.environ["UPLOADS"])
LIFETIME_S = 600
"""One that a broken test forgets ends by itself."""
was_listed = threading.Event()
"""A bad release goes bad once somebody has looked at its items: after it was verified."""


def database() -> sqlite3.Connection:
    connection = sqlite3.connect(os.environ["DATABASE"], timeout=5)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


class Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            is_bad = RELEASE.get("goes_bad") and was_listed.is_set()
            status = "error" if is_bad else "ok"
            self.answer(500 if is_bad else 200, {"status": status, "release": RELEASE["name"]})
            return
        with database() as connection:
            rows = connection.execute(f"SELECT {RELEASE['columns']} FROM items").fetchall()
        self.answer(200, rows)
        was_listed.set()

    def do_POST(self) -> None:
        """Answered once both are durable: a file under that name, and a row."""
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["name"]
        (UPLOADS / f"{name}.txt").write_text(name)
        with database() as connection:
            connection.execute("INSERT INTO items(name) VALUES (?)", (name,))
        self.answer(201, {"name": name})

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def misbehave() -> None:
    """What a rollback has to undo in the uploads: a new file, an overwritten and a deleted one."""
    (UPLOADS / "left-by-a-bad-release.txt").write_text("rubbish")
    (UPLOADS / "picture-00.txt").write_text("rubbish")
    (UPLOADS / "picture-01.txt").unlink(missing_ok=True)


def main() -> None:
    with (HERE.parent / "effects.log").open("a") as effects:
        effects.write(f"server {RELEASE['name']}\n")
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop)
    server.daemon_threads = True
    if RELEASE.get("goes_bad"):
        misbehave()
    threading.Timer(LIFETIME_S, os._exit, (0,)).start()
    server.serve_forever()


main()
