"""What stands between a test and the machine's engine: an engine that is away, or refuses."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_ENGINE = "/var/run/docker.sock"
_SDK = b"docker-sdk-python"
_BYTES = 1 << 16


@dataclass(kw_only=True)
class Relay:
    """Hands on every request but those of our SDK that it refuses, by hanging up."""

    listening: socket.socket
    refuses: Callable[[bytes], bool] = lambda _: False

    def serve(self) -> None:
        """Until it is closed."""
        with suppress(OSError):
            while True:
                asking, _ = self.listening.accept()
                threading.Thread(target=self._hand_on, args=[asking], daemon=True).start()

    def _hand_on(self, asking: socket.socket) -> None:
        with asking, socket.socket(socket.AF_UNIX) as engine, suppress(OSError):
            engine.connect(_ENGINE)
            threading.Thread(target=_copy, args=[engine, asking], daemon=True).start()
            while (told := asking.recv(_BYTES)) and not self._is_refused(told):
                engine.sendall(told)
            asking.shutdown(socket.SHUT_RDWR)
            engine.shutdown(socket.SHUT_RDWR)

    def _is_refused(self, told: bytes) -> bool:
        return _SDK in told and self.refuses(told)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while told := source.recv(_BYTES):
            target.sendall(told)


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Where this process finds the engine; programs that it starts do not."""
    place = str(tmp_path / "engine.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen()
        made = Relay(listening=listening)
        threading.Thread(target=made.serve, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
        yield made
        listening.shutdown(socket.SHUT_RDWR)
