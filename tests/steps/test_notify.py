"""notify: whom it reaches, what it says of whom it does not, and that nobody's address is shown."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from runbook.errors import NotDelivered, ParametersInvalid
from runbook.secret import Secret
from runbook.steps.notify import STEP, Notified, Notify
from tests.steps.conftest import MakeContext


@pytest.fixture
def inbox() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A webhook's port, and what it was sent."""
    received: list[dict[str, Any]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(404 if self.path == "/gone" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, received
        server.shutdown()


def _message(to: str | None, level: str = "failure") -> Notify:
    text = {"title": "backup failed", "message": "No restore point.", "level": level}
    return Notify.model_validate({"to": to and Secret(to), **text})


def test_everybody_is_sent_the_message_with_the_run(
    make_context: MakeContext, inbox: tuple[int, list[dict[str, Any]]]
) -> None:
    port, received = inbox

    told = STEP.run(
        _message(f"json://127.0.0.1:{port}/a  json://127.0.0.1:{port}/b"),
        make_context(run_id="run-7", step_id="tell"),
    )

    assert told == Notified(told=2)
    assert [each["title"] for each in received] == ["backup failed"] * 2
    assert {each["type"] for each in received} == {"failure"}
    assert received[0]["message"] == "No restore point.\n\nshop: run run-7, step tell"


def test_without_an_address_nobody_is_told(make_context: MakeContext) -> None:
    context = make_context()

    assert STEP.run(_message(None), context) == Notified(told=0)
    assert STEP.run(_message(" "), context) == Notified(told=0)
    assert context.logged == ["nobody to tell"] * 2


def test_whoever_was_not_reached_is_an_error_that_hides_the_address(
    make_context: MakeContext, inbox: tuple[int, list[dict[str, Any]]]
) -> None:
    port, received = inbox
    addresses = f"json://ann:hush@127.0.0.1:{port}/gone json://127.0.0.1:{port}/here"

    with pytest.raises(NotDelivered, match=r"1 of 2 .* JSON: .*404") as failed:
        STEP.run(_message(addresses), make_context())

    assert "hush" not in str(failed.value)
    assert len(received) >= 2
    assert not failed.value.changed


def test_what_is_no_address_is_told_apart_by_its_number(make_context: MakeContext) -> None:
    with pytest.raises(ParametersInvalid, match="address 2 of 2") as failed:
        STEP.run(_message("json://127.0.0.1:1/ hush://nobody"), make_context())

    assert "hush" not in str(failed.value)
