"""status, history, logs, validate, schema and steps: they read, and change nothing."""

from pathlib import Path
from typing import Any

import pytest


def test_without_any_run_there_is_little_to_say(cli: Any, tmp_path: Path) -> None:
    assert cli("status").out == "no run is unfinished\n"
    assert cli("history").out == "no run yet\n"
    assert not (tmp_path / "state").exists()


def test_status_puts_first_what_is_unfinished_with_what_to_type(cli: Any) -> None:
    cli("run", "runbooks/ok.yaml")
    failed = cli("run", "runbooks/bad.yaml")

    said = cli("status")

    lines = said.out.splitlines()
    assert lines[0].startswith("ROLLBACK FAILED  back-")
    assert any(line.endswith(failed.last_line) for line in lines)
    assert lines[-1].startswith("last     ok-")


def test_status_of_one_run_shows_each_of_its_steps(cli: Any) -> None:
    cli("run", "runbooks/bad.yaml")

    said = cli("status", "bad")

    assert "  two    failed" in said.out
    assert "  three  waiting" in said.out


def test_history_lists_the_newest_first(cli: Any) -> None:
    cli("run", "runbooks/ok.yaml")
    cli("run", "runbooks/bad.yaml")

    said = cli("history")
    ends = [run["end"] for run in cli("history", "-o", "json").document["runs"]]

    header, *rows = said.out.splitlines()
    assert header.split() == ["RUN", "RUNBOOK", "END", "STARTED", "TOOK", "BY"]
    assert [row.split("-")[0] for row in rows] == ["back", "bad", "ok"]
    assert ends == ["failed", "rollback failed", "succeeded"]
    assert len(cli("history", "--limit", "1").out.splitlines()) == 2


def test_logs_come_in_order_of_the_plan(cli: Any) -> None:
    cli("run", "runbooks/ok.yaml")

    assert "--- one\nhello\n" in cli("logs", "ok").out
    assert cli("logs", "ok", "one").out == "hello\n"
    assert cli("logs", "ok", "-o", "json").document["steps"][0]["lines"] == ["hello"]
    assert "did you mean `one`?" in cli("logs", "ok", "onne").err


@pytest.mark.parametrize("arguments", [("status",), ("history",), ("steps",), ("schema",)])
def test_json_is_one_document_with_its_format(arguments: tuple[str, ...], cli: Any) -> None:
    cli("run", "runbooks/bad.yaml")

    document = cli(*arguments, "--output", "json").document

    assert document["format"] == f"runbook.{arguments[0]}/1"


def test_validate_finds_every_runbook_in_the_folder(cli: Any, project: Path) -> None:
    (project / "runbooks" / "project.yaml").write_text("project: shop\n")

    said = cli("validate")

    assert said.status == 0
    assert said.out.startswith("9 runbooks valid: ")


def test_validate_shows_findings_and_ends_with_2(cli: Any, project: Path) -> None:
    (project / "runbooks" / "odd.yaml").write_text(
        "runbook: v1\nname: odd\nsteps:\n  - {id: a, uses: wiat, with: {for: 1s}}\n"
    )

    text = cli("validate", "runbooks/odd.yaml")
    document = cli("validate", "runbooks/odd.yaml", "--format", "json").document
    github = cli("validate", "runbooks/odd.yaml", "--format", "github")

    assert text.status == github.status == 2
    assert "did you mean `wait`?" in text.err
    assert document["format"] == "runbook.diagnostics/1"
    assert not document["is_valid"]
    assert github.out.startswith("::error file=runbooks/odd.yaml,line=4,col=")


def test_warnings_count_when_asked_to(cli: Any, project: Path) -> None:
    (project / "runbooks" / "idle.yaml").write_text(
        "runbook: v1\nname: idle\ninputs: {n: {type: string, default: x}}\n"
        "steps:\n  - {id: a, uses: wait, with: {for: 1s}}\n"
    )

    assert cli("validate", "runbooks/idle.yaml").status == 0
    assert cli("validate", "runbooks/idle.yaml", "--strict").status == 2


def test_validate_without_any_runbook_is_refused(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert cli("validate", str(tmp_path / "empty")).status == 2


def test_steps_explain_a_kind_from_its_types(cli: Any) -> None:
    said = cli("steps", "wait")

    assert said.out.startswith("wait: Wait for a while")
    assert "  for  (" in said.out
    assert "required" in said.out
    assert "with: {for: 30s}" in said.out
    assert "did you mean `wait`?" in cli("steps", "wiat").err
