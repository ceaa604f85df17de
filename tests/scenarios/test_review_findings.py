"""Ways in which a run was once lost, doubled or falsely reported: none of them ever again."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.scenarios.conftest import Desk

pytestmark = pytest.mark.slow

DOUBTFUL = """\
runbook: v1
name: deploy
steps:
  - {id: look, uses: wait, with: {for: 1ms}}
  - id: migrate
    uses: command
    with:
      script: |
        echo effect >> traces
        [ -e gate ] || { kill -9 $PPID; sleep 0.5; kill -9 $$; }
      probe: PROBE
    retry: {attempts: 3}
    timeout: 2s
"""


@pytest.mark.parametrize("probe", ["[./gone]", "[sleep, '60']"])
def test_a_probe_that_fails_leaves_the_doubt_to_a_person(desk: Desk, probe: str) -> None:
    desk.write("deploy.yaml", DOUBTFUL.replace("PROBE", probe))

    told = desk.runbook("run", "deploy.yaml")
    again = desk.runbook("resume")

    assert (told.status, again.status) == (5, 5), told.text + again.text
    assert "as it was" not in told.text
    assert desk.traces == ["effect"]
    answered = desk.runbook("resume", "--answer", "migrate=done", "--reason", "looked")
    assert answered.status == 0, answered.text
    assert desk.traces == ["effect"]


@pytest.mark.parametrize("printed", ['{"rate": NaN}', "[1e999]", "-Infinity", '"\\ud800"'])
def test_what_no_journal_can_hold_is_no_output(desk: Desk, printed: str) -> None:
    desk.write("printed", printed)
    desk.write(
        "deploy.yaml",
        "runbook: v1\nname: deploy\nsteps:\n"
        "  - {id: one, uses: command, with: {script: cat printed, output: json}}\n",
    )

    told = desk.runbook("run", "deploy.yaml")
    desk.write("printed", '{"rate": 1}')
    again = desk.runbook("resume")

    assert (told.status, again.status) == (1, 0), told.text + again.text
    assert "printed no JSON" in told.text


def test_a_retry_that_cannot_begin_ends_the_run(desk: Desk) -> None:
    desk.write(
        "deploy.yaml",
        "runbook: v1\nname: deploy\ninputs: {tok: {type: string, sensitive: true, "
        "required: false, env: TOK}}\nsteps:\n  - {id: one, uses: command, rerun: safe, "
        "retry: {attempts: 5, delay: 2s}, with: {script: 'echo go >> traces; exit 1', "
        "environment: {T: '${{ inputs.tok }}'}}}\n",
    )
    desk.environ["TOK"] = "hush-hush"

    process = desk.start("run", "deploy.yaml", "-o", "jsonl")
    assert process.stdout is not None
    while "StepFailed" not in process.stdout.readline():
        assert process.poll() is None
    desk.kill(process)
    del desk.environ["TOK"]
    told = desk.runbook("resume")

    assert told.status == 1, told.text


@pytest.mark.parametrize("shape", ["text", "lines", "json"])
def test_output_that_is_too_long_to_keep_is_never_passed_on_cut(desk: Desk, shape: str) -> None:
    desk.write(
        "deploy.yaml",
        "runbook: v1\nname: deploy\nsteps:\n  - {id: one, uses: command, with: "
        f"{{argv: [seq, '1', '400000'], output: {shape}}}}}\n",
    )

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 1, told.text
    assert "printed more than the 1 MiB" in told.text


def test_what_nohup_has_it_ignore_does_not_interrupt_a_run(desk: Desk) -> None:
    desk.write(
        "deploy.yaml",
        "runbook: v1\nname: deploy\nsteps:\n  - {id: one, uses: command, rerun: safe, with: "
        "{script: 'echo on >> traces; while [ ! -e gate ]; do sleep 0.02; done'}}\n"
        "  - {id: two, uses: command, rerun: safe, with: {script: 'echo off >> traces'}}\n",
    )
    desk.program = [sys.executable, "-c", IGNORING, *desk.program]

    process = desk.start("run", "deploy.yaml")
    desk.traced("on")
    os.kill(process.pid, signal.SIGHUP)
    desk.open_gate()
    told = desk.ended(process)

    assert told.status == 0, told.text
    assert desk.traces == ["on", "off"]


PAUSING = """\
runbook: v1
name: deploy
resources:
  web: {process: {argv: [sleep, "1000"], directory: .}}
  uploads: {directory: {path: uploads, used_by: [web]}}
steps:
  - {id: up, uses: process_up, with: {process: web}}
  - {id: files, uses: snapshot_volume, with: {volume: uploads, level: paused}}
"""


def test_whoever_is_paused_goes_on_when_we_are_told_to_leave(desk: Desk) -> None:
    desk.write("deploy.yaml", PAUSING)
    (desk.root / "uploads").mkdir()
    with (desk.root / "uploads" / "large").open("wb") as file:
        file.truncate(200 << 30)

    process = desk.start("run", "deploy.yaml")
    record = desk.state / "processes" / "desk.web.json"
    desk.eventually(record.exists, "the process is up")
    stat = Path(f"/proc/{json.loads(record.read_text())['pid']}/stat")
    desk.eventually(lambda: stat.read_text().split()[2] == "T", "it is paused")
    process.send_signal(signal.SIGTERM)
    told = desk.ended(process)

    assert told.status == 143, told.text
    assert stat.read_text().split()[2] == "S"
    (desk.root / "uploads" / "large").unlink()
    assert desk.runbook("resume").status == 0
    os.kill(int(stat.parent.name), signal.SIGKILL)


IGNORING = textwrap.dedent("""
    import os, signal, sys
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.execv(sys.argv[1], sys.argv[1:])
""")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(desk: Desk, closed: str) -> None:
    desk.write(
        "deploy.yaml", "runbook: v1\nname: d\nsteps:\n  - {id: a, uses: wait, with: {for: 1ms}}\n"
    )
    line = " ".join(desk.program) + f" run deploy.yaml {closed}"

    ended = subprocess.run(
        ["bash", "-c", line], cwd=desk.root, env=desk.environment(), check=False, timeout=60
    )

    assert ended.returncode == 0
    listed = json.loads(desk.runbook("history", "-o", "json").out)["runs"]
    assert [run["end"] for run in listed] == ["succeeded"]


def test_what_is_not_utf8_is_refused_in_words(desk: Desk) -> None:
    desk.write(
        "deploy.yaml", "runbook: v1\nname: d\nsteps:\n  - {id: a, uses: wait, with: {for: 1ms}}\n"
    )
    odd = os.fsencode(desk.root) + b"/\xff"
    os.mkdir(odd)  # noqa: PTH102 — pathlib takes no bytes

    argument = subprocess.run(
        [*desk.program, "logs", b"\xff"], cwd=desk.root, env=desk.environment(),
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    folder = subprocess.run(
        [*desk.program, "run", "../deploy.yaml"], cwd=odd, env=desk.environment(),
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip

    for told in (argument, folder):
        assert told.returncode == 2, told.stderr
        assert b"is not UTF-8 text" in told.stderr


def test_delays_that_no_clock_can_hold_are_bounded(desk: Desk) -> None:
    retry = "retry: {attempts: 3, factor: 10000000000000, max_delay: 100000000d}"
    step = f"{{id: a, uses: command, rerun: safe, {retry}, with: {{script: exit 1}}}}"
    desk.write("deploy.yaml", f"runbook: v1\nname: d\nsteps:\n  - {step}\n")

    told = desk.runbook("run", "deploy.yaml")

    assert told.status == 2, told.text
    assert "`factor`" in told.err


@pytest.mark.parametrize("damage", ["DELETE FROM event", "UPDATE event SET body = '{}'"])
def test_a_damaged_run_leaves_the_others_readable(desk: Desk, damage: str) -> None:
    step = "{id: a, uses: wait, with: {for: 1ms}}"
    for name in ("old", "new"):
        desk.write(f"{name}.yaml", f"runbook: v1\nname: {name}\nsteps:\n  - {step}\n")
        assert desk.runbook("run", f"{name}.yaml").status == 0
    old = desk.history()[0]["id"]
    journal = sqlite3.connect(desk.state / "journal.db")
    guards = journal.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    with journal:
        for name, _sql in guards:
            journal.execute(f"DROP TRIGGER {name}")
        journal.execute(f"{damage} WHERE run_id = ? AND seq = 1", (old,))
        for _name, sql in guards:
            journal.execute(sql)
    journal.close()

    listed, status, shown = (
        desk.runbook(*words) for words in (["history"], ["status"], ["status", old])
    )

    assert (listed.status, status.status) == (0, 0), listed.text + status.text
    assert "new-" in listed.out
    assert old in listed.err
    assert (shown.status, "RB603" in shown.err) == (2, True), shown.text
    assert desk.runbook("run", "new.yaml").status == 0
