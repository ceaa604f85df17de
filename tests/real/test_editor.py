"""The schemas in an editor: yaml-language-server completes, explains, and sees the same errors."""

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook.language.checking import validate
from runbook.registry import discover
from tests.language.generated import NAMED, TEXTS, editor_of, schema_of, written
from tests.language.making import Maker, spoiled
from tests.real import ground

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "runbooks").rglob("*.yaml"))
MODELINE = f"# yaml-language-server: $schema={(ROOT / 'schemas/runbook.schema.json').as_uri()}\n"
Message = dict[str, Any]


class Editor:
    """A session with the language server, over the Language Server Protocol."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._requests = 0
        self.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        self._send({"method": "initialized", "params": {}})
        settings = {"yaml": {"schemaStore": {"enable": False}}}
        self._send({"method": "workspace/didChangeConfiguration", "params": {"settings": settings}})

    def ask(self, method: str, params: Message) -> Any:
        """The answer to a request."""
        self._requests += 1
        number = self._requests
        self._send({"id": number, "method": method, "params": params})
        return self._await(lambda m: m.get("id") == number and "method" not in m)["result"]

    def findings(self, path: Path, text: str) -> list[tuple[int, str]]:
        """Line and message of each thing that it marks in a text."""
        document = {"uri": path.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        marked = self._await(
            lambda m: (
                m.get("method") == "textDocument/publishDiagnostics"
                and m["params"]["uri"] == path.as_uri()
            )
        )
        found = marked["params"]["diagnostics"]
        return [(each["range"]["start"]["line"] + 1, each["message"]) for each in found]

    def at(self, method: str, path: Path, line: int, column: int) -> Any:
        """What it offers at a place, counted from 1."""
        position = {"line": line - 1, "character": column - 1}
        document = {"uri": path.as_uri()}
        return self.ask(f"textDocument/{method}", {"textDocument": document, "position": position})

    def _await(self, is_it: Callable[[Message], bool]) -> Message:
        while True:
            message = self._receive()
            if "id" in message and "method" in message:
                asked = message["params"].get("items", []) if message.get("params") else []
                self._send({"id": message["id"], "result": [{} for _ in asked] or None})
            elif is_it(message):
                return message

    def _send(self, message: Message) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _receive(self) -> Message:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        received: Message = json.loads(self._process.stdout.read(length))
        return received


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    server = ground.install_editor()
    with subprocess.Popen(
        ["node", str(server), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Editor(process)
        process.kill()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_shipped_document_names_its_schema_and_has_no_mark(path: Path, editor: Editor) -> None:
    text = path.read_text()

    assert "# yaml-language-server: $schema=" in text
    assert editor.findings(path, text) == []


@pytest.mark.parametrize(
    ("step", "code", "says"),
    [
        ("{id: a, uses: backup_db, with: {databse: db}}", "RB201", "databse"),
        ("{uses: wait, with: {for: 1s}}", "RB202", "id"),
        ("{id: a, uses: wiat, with: {for: 1s}}", "RB203", "not accepted"),
        ("{id: a, uses: wait, with: {for: soon}}", "RB206", "pattern"),
        ("{id: a, uses: wait, with: {for: 1s}, timeout: 0s}", "RB206", "pattern"),
        ("{id: a, uses: wait, with: {for: 1s}, retry: {attempts: 1.5}}", "RB204", "integer"),
        ("{id: a, uses: wait, with: {for: 1s}, rerun: never}", "RB205", "not accepted"),
        ("{for_each: {in: [1], as: n, stpes: []}}", "RB201", "stpes"),
        ("{id: a, uses: runbook, with: {runbok: x.yaml}}", "RB201", "runbok"),
    ],
)
def test_it_marks_what_the_program_finds(
    step: str, code: str, says: str, editor: Editor, tmp_path: Path
) -> None:
    text = f"{MODELINE}runbook: v1\nname: deploy\nsteps:\n  - {step}\n"
    path = tmp_path / "deploy.yaml"
    path.write_text(text)

    marked = editor.findings(path, text)
    found = [(each.line, each.code) for each in validate(path, registry=discover())]

    assert any(line == 5 and says in message for line, message in marked), marked
    assert (5, code) in found


def test_it_marks_no_spelling_that_the_program_takes(editor: Editor, tmp_path: Path) -> None:
    step = "{id: a, uses: wait, name: no, with: {for: 010}, retry: {attempts: 3.0}, timeout: 0x1F}"
    text = f"{MODELINE}runbook: v1\nname: deploy\nsteps:\n  - {step}\n"
    path = tmp_path / "spelt.yaml"
    path.write_text(text)

    assert editor.findings(path, text) == []
    assert validate(path, registry=discover()) == []


def test_it_marks_exactly_the_documents_that_do_not_fit(editor: Editor, tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    dice, schema = random.Random(seed), schema_of("runbook")
    maker, is_fit = Maker(schema, dice, TEXTS, NAMED), editor_of(schema)

    for number in range(30):
        made = maker.document()
        document = spoiled(made, dice) if number % 2 else made
        text = f"{MODELINE}{written(document, dice)}\n"
        marks = editor.findings(tmp_path / f"made_{number}.yaml", text)

        assert (not marks) is is_fit(document), f"seed {seed}: {marks}\n{text}"


def test_it_completes_parameters_and_explains_them(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "deploy.yaml"
    step = "  - id: dump\n    uses: backup_db\n    with:\n"
    head = f"{MODELINE}runbook: v1\nname: deploy\nsteps:\n{step}"
    editor.findings(path, f"{head}      data\n")
    offered = editor.at("completion", path, 8, 11)
    other = tmp_path / "other.yaml"
    editor.findings(other, f"{head}      database: db\n")
    explained = editor.at("hover", other, 8, 9)

    items = offered["items"] if isinstance(offered, dict) else offered
    assert "database" in [item["label"] for item in items]
    assert "The database to back up." in explained["contents"]["value"]
