"""Secrets come from where the runbook says, and are nowhere to be found afterwards."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runbook.secret import Secret
from runbook.tools.redactor import Redactor
from tests.scenarios.conftest import Desk, Told

pytestmark = pytest.mark.slow

CANARIES = {
    "CANARY_ENV": "c4nary/env+'q\"uote",
    "CANARY_FILE": "c4nary-file-line-one\nc4nary-file-line-two",
    "CANARY_COMMAND": "c4nary=command&more",
    "CANARY_INPUT": "c4nary input ünïcode",
}
RUNBOOK = """\
runbook: v1
name: deploy
inputs:
  token: {type: string, sensitive: true, env: CANARY_INPUT}
secrets:
  by_env: {env: CANARY_ENV}
  by_file: {file: canary.txt}
  by_command: {command: [cat, hidden.txt], timeout: 5s}
vars:
  header: "Bearer ${{ secrets.by_command }}"
steps:
  - id: say
    uses: command
    rerun: safe
    with: {argv: [bash, say.sh], environment: &secrets {
      A: "${{ secrets.by_env }}", B: "${{ secrets.by_file }}", C: "${{ vars.header }}",
      D: "${{ inputs.token }}"}}
  - id: ask
    uses: http_check
    on_error: {continue: "nobody listens there"}
    with:
      checks:
        - get: "http://127.0.0.1:9/"
          headers: {Authorization: "${{ vars.header }}"}
          timeout: 1s
  - id: end
    uses: command
    rerun: safe
    with: {script: "END", environment: *secrets}
finally:
  - id: last
    uses: command
    rerun: safe
    with: {script: 'echo "$A"', environment: *secrets}
"""
SAY = """\
for value in "$A" "$B" "$C" "$D"; do
  echo "plain $value, and again: $value" | tee /dev/stderr
  printf '%s' "$value" | base64 -w0; echo
  printf 'x%s' "$value" | base64 -w0; echo
  printf 'xx%s' "$value" | base64 -w0; echo
  printf '%q\\n' "$value"
done
python3 -c 'import json, os, urllib.parse
for name in "ABCD":
    value = os.environ[name]
    print(json.dumps({"v": value}), json.dumps(value, ensure_ascii=False))
    print(urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value))'
"""


@pytest.fixture
def keeper(desk: Desk) -> Desk:
    """A desk whose runbook has a secret from everywhere, and says each aloud in every way."""
    desk.write("deploy.yaml", RUNBOOK.replace("END", "echo done >> traces"))
    desk.write("say.sh", SAY)
    desk.write("canary.txt", CANARIES["CANARY_FILE"] + "\n")
    desk.write("hidden.txt", CANARIES["CANARY_COMMAND"] + "\n")
    desk.environ |= {name: CANARIES[name] for name in ("CANARY_ENV", "CANARY_INPUT")}
    return desk


def command_lines() -> Iterator[bytes]:
    """What every process on the machine was called with."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield entry.read_bytes()


def watched(desk: Desk, *arguments: str) -> tuple[Told, set[bytes]]:
    """Run the program to its end, and see every command line meanwhile."""
    process, seen = desk.start(*arguments), set[bytes]()
    while process.poll() is None:
        seen |= set(command_lines())
    return desk.ended(process), seen


def leaks(desk: Desk, *sinks: bytes) -> list[str]:
    """Where any form of any canary is to be found."""
    forms = [form for value in CANARIES.values() for form in Redactor([Secret(value)]).forms]
    files = [path for path in desk.state.rglob("*") if path.is_file()]
    assert len(files) > 2
    places = {str(number): text for number, text in enumerate(sinks)}
    places |= {str(path): path.read_bytes() for path in files}
    return [
        f"{place}: {form!r}" for place, text in places.items() for form in forms if form in text
    ]


def test_no_byte_of_a_secret_is_kept_or_shown_by_a_run_that_says_them_all(keeper: Desk) -> None:
    told, seen = watched(keeper, "run", "deploy.yaml", "-vv")
    logs = keeper.runbook("logs", keeper.history()[0]["id"])

    assert told.status == 0, told.text
    assert logs.out.count("[secret]") > 30
    assert any(b"runbook" in line for line in seen)
    assert leaks(keeper, told.text.encode(), logs.text.encode(), *seen) == []


def test_nor_by_a_failing_one_nor_by_one_that_is_killed_and_resumed(keeper: Desk) -> None:
    fail = "echo begun >> traces; while [ ! -e gate ]; do sleep 0.02; done; echo $A $D >&2; false"
    keeper.write("deploy.yaml", RUNBOOK.replace("END", fail))

    process = keeper.start("run", "deploy.yaml", "-o", "jsonl")
    keeper.traced("begun")
    held = leaks(keeper, *command_lines())
    keeper.kill(process, is_group=True)
    killed = leaks(keeper)
    keeper.open_gate()
    failed, seen = watched(keeper, "resume", "-o", "jsonl")
    status = keeper.runbook("status", "-o", "json")

    assert failed.status == 1, failed.text
    assert "[secret]" in failed.out
    sinks = (failed.out.encode(), failed.err.encode(), status.text.encode(), *seen)
    assert (held, killed, leaks(keeper, *sinks)) == ([], [], [])


def test_every_secret_is_tried_and_none_is_shown(keeper: Desk) -> None:
    whole = keeper.runbook("secrets", "check", "deploy.yaml")
    (keeper.root / "canary.txt").unlink()
    (keeper.root / "hidden.txt").write_text("")
    del keeper.environ["CANARY_INPUT"]
    broken = keeper.runbook("secrets", "check", "deploy.yaml")
    as_json = json.loads(keeper.runbook("secrets", "check", "deploy.yaml", "-o", "json").out)

    assert (whole.status, broken.status) == (0, 2), whole.text + broken.text
    assert [row.split()[-1] for row in whole.out.splitlines()] == ["STATE", *["ok"] * 4]
    assert "cannot read" in broken.out
    assert "`cat` printed nothing" in broken.out
    assert "`CANARY_INPUT` is not set" in broken.out
    assert [each["is_there"] for each in as_json["secrets"]] == [False, True, False, False]
    assert "c4nary" not in whole.text + broken.text


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        ("[cat, no-such-file]", "`cat` ended with status 1"),
        ("[no-such-program-at-all]", "cannot start `no-such-program-at-all`"),
        ("[sleep, '60']", "`sleep` did not end within 0.3 s"),
        ("[head, -c, '9', rubbish]", "what `head` printed is not UTF-8 text"),
        ("['true']", "`true` printed nothing"),
    ],
)
def test_a_command_that_gives_no_secret_keeps_the_run_from_starting(
    keeper: Desk, argv: str, why: str
) -> None:
    (keeper.root / "rubbish").write_bytes(b"\xff\xfe" * 9)
    text = (keeper.root / "deploy.yaml").read_text()
    command = f"{argv}, timeout: 0.3s"
    keeper.write("deploy.yaml", text.replace("[cat, hidden.txt], timeout: 5s", command))

    told = keeper.runbook("run", "deploy.yaml")

    assert told.status == 2, told.text
    assert f"secret `by_command` is missing: {why}" in told.err
    assert keeper.traces == []
    assert not keeper.has_begun
