"""The sample stack's backend: health, metrics, and items that live in database and bucket."""

import itertools
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from release import FAULT, RELEASE

ASKED = itertools.count()
IS_VERIFIED = threading.Event()
"""Whoever reads the metrics has looked at all else: what goes bad later goes bad from then on."""
BUCKET = "files"


def storage():
    import boto3
    from botocore.client import Config

    return boto3.client(
        "s3",
        endpoint_url="http://minio:9000",
        aws_access_key_id="shop",
        aws_secret_access_key=os.environ["S3_PASSWORD"],
        region_name="us-east-1",
        config=Config(signature_version="s3v4"),
    )


class Bucket:
    lock = threading.Lock()
    client = None

    @classmethod
    def opened(cls):
        if cls.client is None:
            cls.client = storage()
            if BUCKET not in [b["Name"] for b in cls.client.list_buckets()["Buckets"]]:
                cls.client.create_bucket(Bucket=BUCKET)
        return cls.client

    @classmethod
    def put(cls, key, body):
        with cls.lock:
            cls.opened().put_object(
                Bucket=BUCKET, Key=key, Body=body, Metadata={"release": RELEASE}
            )

    @classmethod
    def get(cls, key):
        with cls.lock:
            return cls.opened().get_object(Bucket=BUCKET, Key=key)["Body"].read()


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body, content_type="application/json"):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            self.health()
        elif self.path == "/health/db":
            with psycopg.connect(os.environ["DATABASE"]) as connection:
                connection.execute("SELECT 1")
            self.answer(200, {"status": "ok"})
        elif self.path == "/metrics":
            IS_VERIFIED.set()
            self.answer(
                200, f'# HELP up Whether it is up.\nup{{release="{RELEASE}"}} 1\n', "text/plain"
            )
        elif self.path == "/api":
            self.answer(200, {"release": RELEASE})
        elif self.path == "/api/jobs/metrics":
            self.answer(200, {"waiting": 0})
        elif self.path == "/items":
            query = "SELECT name, count(*) OVER () FROM items ORDER BY id DESC LIMIT 1"
            with psycopg.connect(os.environ["DATABASE"]) as connection:
                found = connection.execute(query).fetchone()
            newest, count = found or (None, 0)
            content = Bucket.get(newest).decode() if newest else None
            self.answer(200, {"count": count, "newest": newest, "content": content})
        else:
            self.answer(404, {"error": "no such thing"})

    def health(self):
        has_begun = IS_VERIFIED.is_set()
        is_second = next(ASKED) % 2 == 0
        if FAULT == "health" or (FAULT == "errors" and has_begun and is_second):
            self.answer(500, {"status": "bad", "release": RELEASE})
            return
        if FAULT == "hang" and has_begun:
            threading.Event().wait()  # holds the connection, and never answers
        self.answer(200, {"status": "ok", "release": RELEASE})

    def do_POST(self):
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["name"]
        Bucket.put(name, f"content of {name}".encode())
        with psycopg.connect(os.environ["DATABASE"]) as connection:
            connection.execute("INSERT INTO items (name) VALUES (%s)", [name])
        self.answer(201, {"name": name})

    def do_OPTIONS(self):
        self.answer(204, "")

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 3001), Handler).serve_forever()
