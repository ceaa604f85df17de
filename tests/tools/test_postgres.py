"""Reaching a PostgreSQL server that is not there yet, or goes down in this moment."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from runbook.errors import StepStopped
from runbook.resources import Postgres
from runbook.tools.postgres import reach


@pytest.fixture(params=["refuses", "hangs up"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a server that is on its way down or up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = int(server.getsockname()[1])
        if request.param == "refuses":
            server.close()

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    asking, _ = server.accept()
                    asking.recv(1)
                    asking.close()

        answering = threading.Thread(target=hang_up)
        answering.start()
        yield number
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        answering.join()


def test_a_server_that_restarts_is_waited_for(port: int) -> None:
    database = Postgres(name="db", host="127.0.0.1", port=port, database="shop", user="boss")

    def stop() -> None:
        raise StepStopped("stopped while it waited")

    with pytest.raises(StepStopped):
        reach(database, {}, application="test", check=stop, log=print)
