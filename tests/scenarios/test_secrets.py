"""Secrets come from where the runbook says, and are nowhere to be found afterwards."""

import base64
import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.scenarios.conftest import Desk, Place, Shop

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
  { printf 'some text that stands before it %s' "$value"; seq 40; } | base64
  (set -x; : "$value")
done
python3 -c 'import json, os, urllib.parse
for name in "ABCD":
    value = os.environ[name]
    print(json.dumps({"v": value}), json.dumps(value, ensure_ascii=False))
    print(urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), repr(value))'
[ -z "$1" ] || cat "$1" ../token.txt
cat /proc/[0-9]*/cmdline > cmdlines 2>/dev/null || true
"""
MARK = b"c4nary"
"""Stands in every canary, and no way of quoting changes it."""


@pytest.fixture
def keeper(desk: Desk) -> Desk:
    """A desk whose runbook has a secret from everywhere, and says each aloud in every way."""
    desk.write("deploy.yaml", RUNBOOK.replace("END", "echo done >> traces"))
    desk.write("say.sh", SAY)
    desk.write("canary.txt", CANARIES["CANARY_FILE"] + "\n")
    desk.write("hidden.txt", CANARIES["CANARY_COMMAND"] + "\n")
    desk.environ |= {name: CANARIES[name] for name in ("CANARY_ENV", "CANARY_INPUT")}
    return desk


def command_lines() -> bytes:
    """What every process on the machine was called with."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(entry.read_bytes())
    return b"".join(lines)


def leaks(place: Place, **sinks: bytes) -> list[str]:
    """Where any canary is to be found: as text however quoted, or in base64, wrapped or not."""
    files = [path for path in place.state.rglob("*") if path.is_file()]
    texts = sinks | {str(path): path.read_bytes() for path in files}
    marks = [MARK]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + MARK)
        marks.append(encoded[-(-offset * 8 // 6) : (offset + len(MARK)) * 8 // 6])
    unwrapped = {place: text + re.sub(rb"\s|\\n", b"", text) for place, text in texts.items()}
    return [
        f"{place}: {mark!r}" for place, text in unwrapped.items() for mark in marks if mark in text
    ]


def test_what_looks_for_leaks_finds_what_the_runbook_says(keeper: Desk) -> None:
    said = subprocess.run(
        ["bash", "say.sh"],
        cwd=keeper.root,
        env={**keeper.environment(), **dict(zip("ABCD", CANARIES.values(), strict=True))},
        capture_output=True,
        check=True,
    )

    assert len(leaks(keeper, said=said.stdout)) == 4


def test_no_byte_of_a_secret_is_kept_or_shown_by_a_run_that_says_them_all(keeper: Desk) -> None:
    told = keeper.runbook("run", "deploy.yaml", "-vv")
    logs = keeper.runbook("logs", keeper.history()[0]["id"])
    seen = (keeper.root / "cmdlines").read_bytes()

    assert told.status == 0, told.text
    assert len([*keeper.state.rglob("*.log")]) == 3
    assert logs.out.count("[secret]") > 30
    assert seen.count(b"say.sh") == 2
    assert leaks(keeper, told=told.text.encode(), logs=logs.text.encode(), seen=seen) == []


def test_nor_by_a_failing_one_nor_by_one_that_is_killed_and_resumed(keeper: Desk) -> None:
    fail = "echo begun >> traces; while [ ! -e gate ]; do sleep 0.02; done; echo $A $D >&2; false"
    keeper.write("deploy.yaml", RUNBOOK.replace("END", fail))

    process = keeper.start("run", "deploy.yaml", "-o", "jsonl")
    keeper.traced("begun")
    held = leaks(keeper, held=command_lines())
    keeper.kill(process, is_group=True)
    killed = leaks(keeper)
    keeper.open_gate()
    failed = keeper.runbook("resume", "-o", "jsonl")
    status = keeper.runbook("status", "-o", "json")

    assert failed.status == 1, failed.text
    assert "[secret]" in failed.out
    sinks = {"failed": failed.text.encode(), "status": status.text.encode()}
    assert (held, killed, leaks(keeper, **sinks)) == ([], [], [])


def test_nor_by_the_demo_its_rollback_that_fails_and_the_resume_of_that(shop: Shop) -> None:
    shop.environ |= {name: CANARIES[name] for name in ("CANARY_ENV", "CANARY_INPUT")}
    for name, text in (
        ("runbooks/canary.txt", CANARIES["CANARY_FILE"]),
        ("runbooks/hidden.txt", CANARIES["CANARY_COMMAND"]),
        ("runbooks/say.sh", SAY),
        ("ops/fault", "no answer\n"),
    ):
        (shop.root / name).write_text(text)
    given, secrets = RUNBOOK[RUNBOOK.index("inputs:\n") :].split("secrets:\n")
    secrets = "secrets:\n" + secrets[: secrets.index("vars:")]
    project = shop.root / "runbooks" / "project.yaml"
    project.write_text(project.read_text() + secrets)
    # The rollback does not know the input, and finds what the deploy has left of it.
    (shop.root / "token.txt").write_text(CANARIES["CANARY_INPUT"])
    say = (
        "  - {id: say, uses: command, rerun: safe, with: {argv: [bash, say.sh], environment: {"
        'A: "${{ secrets.by_env }}", B: "${{ secrets.by_file }}", C: "${{ secrets.by_command }}",'
        ' D: "${{ inputs.token }}"}}}\n'
    )
    shop.change_runbook("deploy.yaml", "inputs:\n", given)
    shop.change_runbook("deploy.yaml", "  - id: migrate\n", f"{say}  - id: migrate\n")
    say = say.replace("say.sh]", "say.sh, canary.txt]").replace("${{ inputs.token }}", "no input")
    shop.change_runbook("rollback.yaml", "  - id: cache\n", f"{say}  - id: cache\n")

    first = shop.deploy("v1")
    failed = shop.deploy("v3", watch="4s")
    resumed = shop.runbook("resume", "-vv")

    statuses = [told.status for told in (first, failed, resumed)]
    assert statuses == [0, 4, 3], failed.text + resumed.text
    assert any(shop.state.rglob("manifest.json"))
    seen = (shop.root / "runbooks" / "cmdlines").read_bytes()
    assert seen.count(b"say.sh") == 2
    texts = {
        str(number): told.text.encode() for number, told in enumerate((first, failed, resumed))
    }
    assert leaks(shop, seen=seen, **texts) == []


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
    assert MARK.decode() not in whole.text + broken.text


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
