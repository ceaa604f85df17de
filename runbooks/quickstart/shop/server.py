"""The shop: a small HTTP service with an SQLite database and a folder of uploads. Sample, not product."""

import json
import os
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
RELEASE = json.loads((HERE / "release.json").read_text())
STARTED = time.monotonic()
LIFETIME_S = 1800
"""A forgotten demo ends by itself."""


def database() -> sqlite3.Connection:
    connection = sqlite3.connect(os.environ["DATABASE"], timeout=5)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


class Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.health()
        elif self.path == "/items":
            with database() as connection:
                rows = connection.execute(f"SELECT {RELEASE['columns']} FROM items").fetchall()
            self.answer(200, rows)
        else:
            self.answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        uploads = Path(os.environ["UPLOADS"])
        uploads.mkdir(parents=True, exist_ok=True)
        (uploads / f"{body['name']}.txt").write_text(body["name"])
        with database() as connection:
            connection.execute("INSERT INTO items(name) VALUES (?)", (body["name"],))
        self.answer(201, body)

    def health(self) -> None:
        bad_after_s = RELEASE.get("goes_bad_after_s")
        if bad_after_s is not None and time.monotonic() - STARTED > bad_after_s:
            self.answer(500, {"status": "error", "release": RELEASE["name"]})
            return
        with database() as connection:
            connection.execute(f"SELECT {RELEASE['columns']} FROM items LIMIT 1").fetchall()
        self.answer(200, {"status": "ok", "release": RELEASE["name"]})

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop)
    server.daemon_threads = True
    threading.Timer(LIFETIME_S, os._exit, (0,)).start()
    server.serve_forever()


main()
