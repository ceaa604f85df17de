"""A session with PostgreSQL holds nobody who is stopped, whatever becomes of the server."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from runbook.errors import StepError

if TYPE_CHECKING:
    from psycopg import Connection

_LOOK_S = 0.2
_GRACE_S = 3.0
"""For a statement to end by itself, and for what puts things in order after a stop."""
_CANCEL_S = 2.0


@contextmanager
def watched(connection: "Connection[Any]", check: Callable[[], None]) -> Iterator[None]:
    """Break the session off once `check` raises, which is then raised in place of what breaks."""
    import psycopg

    is_over = Event()
    reasons: list[StepError] = []

    def watch() -> None:
        while not is_over.wait(_LOOK_S):
            try:
                check()
            except StepError as reason:
                if not is_over.wait(_GRACE_S):
                    reasons.append(reason)
                    _break_off(connection, cable)
                return

    with socket.socket(fileno=os.dup(connection.fileno())) as cable:
        watching = Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield
        except (psycopg.Error, StepError) as error:
            if reasons:
                raise reasons[0] from error
            raise
        finally:
            is_over.set()
            watching.join()


def _break_off(connection: "Connection[Any]", cable: socket.socket) -> None:
    import psycopg

    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=_CANCEL_S)
    with suppress(OSError):
        cable.shutdown(socket.SHUT_RDWR)
