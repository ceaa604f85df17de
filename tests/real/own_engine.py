"""A container engine that nobody else uses: one that a test may end and begin again."""

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import Eventually, is_ci

BRIDGE = Path("/sys/class/net/docker0")
"""Of the machine's engine: a second one must not touch it."""
OPTIONS = ["--iptables=false", "--shutdown-timeout=2"]
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _IFF_UP, _IFREQ_BYTES = 0x8914, 1, 40


@dataclass(kw_only=True)
class Engine:
    """A container engine with a network of its own."""

    root: Path
    eventually: Eventually
    _daemon: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"unix://{self.root}/engine.sock"

    def begin(self) -> None:
        """Start it, in the network that it had before."""
        words = ["--data-root", "data", "--exec-root", "exec", "--pidfile", "pid"]
        places = [word if word.startswith("--") else str(self.root / word) for word in words]
        with (self.root / "engine.log").open("ab") as log, self.inside():
            daemon = subprocess.Popen(
                ["dockerd", "--host", self.host, *places, *OPTIONS],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._daemon.append(daemon)
        self.eventually(lambda: self.docker("info") is not None, "an engine that answers", 60.0)

    def end(self) -> None:
        """End it, and so all that runs on it."""
        daemon = self._daemon.pop()
        daemon.terminate()
        daemon.wait(120)

    def docker(self, *words: str) -> str | None:
        """What it tells; None: it does not."""
        environ = {**os.environ, "DOCKER_HOST": self.host}
        argv = ["docker", *words]
        ended = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
        return ended.stdout if ended.returncode == 0 else None

    def load(self, *images: str) -> None:
        """Take over images of the machine's engine."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "load", "--quiet"],
                stdin=saved.stdout,
                env={**os.environ, "DOCKER_HOST": self.host},
                check=True,
                stdout=subprocess.DEVNULL,
            )
        assert saved.returncode == 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and all that it starts, in the engine's network: where its ports are."""
        with Path("/proc/thread-self/ns/net").open() as before:
            _enter(self.root / "net")
            try:
                yield
            finally:
                _enter(Path(f"/proc/self/fd/{before.fileno()}"))

    def make_network(self) -> None:
        """A network that is there until `remove_network`."""
        place = self.root / "net"
        place.touch()
        keep = ["mount", "--bind", "/proc/self/ns/net", str(place)]
        subprocess.run(["unshare", "--net", *keep], check=True)
        with self.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            up = struct.pack("16sh", b"lo", _IFF_UP)
            fcntl.ioctl(asking, _SIOCSIFFLAGS, up.ljust(_IFREQ_BYTES, b"\0"))

    def remove(self) -> None:
        """Leave nothing behind."""
        if self._daemon:
            self.docker("rm", "-f", *(self.docker("ps", "-aq") or "").split())
            self.end()
        subprocess.run(["umount", str(self.root / "net")], check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def _enter(network: Path) -> None:
    with network.open() as opened:
        if ctypes.CDLL(None, use_errno=True).setns(opened.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the network", str(network))


@pytest.fixture
def own_engine(engine: None, eventually: Eventually) -> Iterator[Engine]:
    """An engine of the test's own, which has no image."""
    if (os.geteuid() != 0 or shutil.which("dockerd") is None) and not is_ci():
        pytest.skip("only root can start a container engine")
    had_bridge = BRIDGE.exists()
    made = Engine(root=Path(tempfile.mkdtemp(prefix="rbt")), eventually=eventually)  # short
    made.make_network()
    try:
        made.begin()
        yield made
    finally:
        made.remove()
        assert BRIDGE.exists() == had_bridge
