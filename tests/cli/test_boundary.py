"""Whatever happens becomes an exit status and words; never a traceback on the screen."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import runbook.cli.history as history_module
from runbook.errors import Unfit


def test_a_bug_leaves_its_traceback_in_a_file_for_its_owner(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", "runbooks/ok.yaml")
    monkeypatch.setattr(history_module, "recent_views", lambda *_: 1 // 0)

    said = cli("history")

    (kept,) = (tmp_path / "state").glob("traceback-*.txt")
    assert said.status == 70
    assert "Traceback" not in said.err
    assert str(kept) in said.err
    assert "ZeroDivisionError" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_an_error_is_a_json_document_where_json_is_wanted(cli: Any) -> None:
    cli("run", "runbooks/plain.yaml")

    said = cli("abort", "nope", "--reason", "x", "--output", "json")

    assert said.status == 2
    assert said.document["format"] == "runbook.error/1"
    assert said.document["error"]["code"] == "RB606"
    assert said.document["error"]["exit_status"] == 2
    assert said.document["error"]["hint"] == "runbook history"
    assert "error[RB606]" in said.err


def test_even_wrong_usage_is_a_json_document(cli: Any) -> None:
    said = cli("history", "--output", "json", "--nonsense")

    assert said.status == 2
    assert said.document["error"]["code"] == "RB501"


def test_an_invalid_runbook_is_a_json_document_with_its_findings(cli: Any, project: Path) -> None:
    (project / "runbooks" / "odd.yaml").write_text("runbook: v1\nname: odd\nstps: []\n")

    said = cli("run", "runbooks/odd.yaml", "-o", "json")

    assert said.status == 2
    assert said.document["diagnostics"][0]["line"] == 3


def test_what_is_unfit_ends_with_7(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise Unfit("the disk is full", hint="make room\nrunbook status")

    (tmp_path / "state").mkdir()
    monkeypatch.setattr(history_module, "recent_views", refuse)

    said = cli("history")

    assert said.status == 7
    assert said.err.splitlines() == [
        "error[RB701]: the disk is full",
        "  = help: make room",
        "          runbook status",
    ]


def test_ctrl_c_outside_a_run_ends_with_130(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "state").mkdir()
    monkeypatch.setattr(history_module, "recent_views", interrupt)

    assert cli("history").status == 130


def test_a_reader_who_has_gone_is_no_error(program_environment: Mapping[str, str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)

    done = subprocess.run(
        [sys.executable, "-m", "runbook", "steps", "command"],
        env=program_environment,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["schema"], 7), (["validate", "-o", "json"], 7), (["run", "runbooks/ok.yaml"], 0)],
)
def test_a_full_disk_under_an_answer_is_an_error_but_not_of_a_run(
    arguments: list[str], expected: int, program_environment: Mapping[str, str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "runbook", *arguments],
            env=program_environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == expected, done.stderr
    assert "the answer cannot be written: no space left on device" in done.stderr


def test_a_folder_that_is_gone_is_no_bug(cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    said = cli("status")

    assert said.status == 2
    assert "error[RB501]: this folder is gone" in said.err


def test_colour_is_off_in_a_pipe_and_on_when_asked_for(cli: Any) -> None:
    plain = cli("logs", "nope")
    colored = cli("logs", "nope", "--color", "always")

    assert "\x1b" not in plain.err
    assert "\x1b[31m" in colored.err


def test_among_jsonl_an_error_is_the_last_line(cli: Any) -> None:
    said = cli("run", "runbooks/none.yaml", "-o", "jsonl")

    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["type"] for line in lines] == ["version", "error"]
