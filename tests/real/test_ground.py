"""The ground itself: its servers answer, on containers that Compose brought up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.real import ground
from tests.real.conftest import MakeStack

pytestmark = pytest.mark.real

STACK = """
    services:
      postgres:
        image: runbook-test/postgres:{version}
        environment: {{POSTGRES_PASSWORD: hush, POSTGRES_DB: shop}}
        healthcheck:
          test: [CMD, pg_isready, -h, 127.0.0.1, -U, postgres, -d, shop]
          interval: 1s
          retries: 120
      redis: {{image: "runbook-test/redis:1"}}
      minio:
        image: runbook-test/minio:1
        environment: {{MINIO_ROOT_USER: root, MINIO_ROOT_PASSWORD: hush-hush}}
"""


@pytest.mark.parametrize("version", ["15", "17"])
def test_its_servers_answer(make_stack: MakeStack, version: str) -> None:
    stack = make_stack(STACK.format(version=version))

    stack.compose("up", "--detach", "--wait")

    query = ["psql", "-U", "postgres", "-d", "shop", "-At", "-c", "SHOW server_version"]
    assert stack.compose("exec", "-T", "postgres", *query).startswith(f"{version}.")
    assert stack.compose("exec", "-T", "redis", "redis-cli", "ping").strip() == "PONG"
    stack.eventually(
        lambda: "API: http" in stack.compose("logs", "minio"), "MinIO serves", within_s=20.0
    )


def test_the_pid_of_a_killed_engine_is_forgotten_and_that_of_a_living_one_kept(
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "docker.pid"
    pid_file.write_text(f"{os.getpid()}")

    ground.forget_killed(pid_file, Path("/proc/self/comm").read_text().strip())
    assert pid_file.exists()

    ground.forget_killed(pid_file, "dockerd")
    assert not pid_file.exists()


def test_setting_it_up_again_takes_no_time(engine: None) -> None:
    began = time.monotonic()

    ended = subprocess.run(
        [sys.executable, "-m", "tests.real.ground"], capture_output=True, text=True, check=True
    )

    assert "is there" in ended.stderr
    assert time.monotonic() - began < 60
