"""status, history, logs, validate, schema and steps: they read, and change nothing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runbook.cli.explain import explained
from runbook.errors import error_classes
from runbook.language.findings import FINDINGS


@pytest.mark.parametrize("command", ["status", "history", "resume"])
def test_where_there_is_no_journal_that_is_said_and_none_is_made(
    command: str, cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()

    said = cli(command)

    where = f": no journal in {tmp_path / 'state'}; choose another by --state-dir"
    assert (said.status, where in said.out) == (0, True)
    assert not any((tmp_path / "state").iterdir())


@pytest.mark.parametrize("command", ["rollback", "approve", "logs deploy", "status deploy"])
def test_a_run_that_is_looked_for_in_the_wrong_place_is_answered_with_the_place(
    command: str, cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()

    said = cli(*command.split())

    assert said.status == 2
    assert f"help: no journal in {tmp_path / 'state'}" in said.err


@pytest.mark.parametrize("command", ["status", "history", "resume", "rollback"])
def test_a_named_state_directory_must_be_there(command: str, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    absent = cli(command)
    file = cli(command, "--state-dir", str(tmp_path / "file"))

    assert (absent.status, file.status) == (2, 2)
    assert f"`{tmp_path / 'state'}` is not there" in absent.err
    assert f"`{tmp_path / 'file'}` is no directory" in file.err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("runbook", ["nope.yaml", "runbooks/sure.yaml"])
def test_what_is_refused_leaves_no_state_directory_behind(
    runbook: str, cli: Any, tmp_path: Path
) -> None:
    assert cli("run", runbook).status == 2
    assert not (tmp_path / "state").exists()


def test_status_names_its_state_directory(cli: Any, tmp_path: Path) -> None:
    cli("run", "runbooks/ok.yaml")

    assert cli("status").out.endswith(f"state    {tmp_path / 'state'}\n")
    assert cli("status", "-o", "json").document["state_dir"] == str(tmp_path / "state")


def test_status_puts_first_what_is_unfinished_with_what_to_type(cli: Any) -> None:
    cli("run", "runbooks/ok.yaml")
    failed = cli("run", "runbooks/bad.yaml")

    said = cli("status")

    lines = said.out.splitlines()
    assert lines[0].startswith("ROLLBACK FAILED  back-")
    assert any(line.endswith(failed.last_line) for line in lines)
    assert lines[-2].startswith("last     ok-")


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


def test_validate_names_each_file_in_json_as_its_findings_do(cli: Any, project: Path) -> None:
    odd = project / "runbooks" / "odd.yaml"
    odd.write_text("runbook: v1\nname: odd\nsteps: [{id: a, uses: wiat, with: {for: 1s}}]\n")

    document = cli("validate", str(odd), "runbooks/odd.yaml", "--format", "json").document

    assert document["files"] == [str(odd), "runbooks/odd.yaml"]
    assert [each["file"] for each in document["diagnostics"]] == document["files"]


def test_validate_writes_sarif_for_code_scanning(cli: Any, project: Path) -> None:
    (project / "runbooks" / "odd.yaml").write_text(
        "runbook: v1\nname: odd\ninputs: {n: {type: string, default: x}}\nsteps:\n"
        "  - {id: a, uses: wait, with: {fro: 1s}}\n  - {id: a, uses: wait, when: 1 == 1}\n"
    )

    said = cli("validate", "runbooks/odd.yaml", "--format", "sarif")

    log = json.loads(said.out)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert (said.status, log["version"]) == (2, "2.1.0")
    assert rules == ["RB201", "RB202", "RB308", "RB452"]
    assert [rules[each["ruleIndex"]] for each in run["results"]] == [
        each["ruleId"] for each in run["results"]
    ]
    first = run["results"][0]
    place = first["locations"][0]["physicalLocation"]
    assert "did you mean `for`?" in first["message"]["text"]
    assert place["artifactLocation"] == {"uri": "runbooks/odd.yaml"}
    assert place["region"]["startLine"] == 5
    assert {each["level"] for each in run["results"]} == {"error", "warning"}
    assert cli("validate", "runbooks/deploy.yaml", "--format", "sarif").status == 0


@pytest.mark.parametrize("code", [*FINDINGS, *error_classes()])
def test_every_code_is_explained(code: str) -> None:
    said = explained(code)

    assert said["code"] == code
    assert len(str(said["meaning"])) > 20


def test_explain_shows_what_is_wrong_and_how_it_is_right(cli: Any) -> None:
    said = cli("explain", "rb404")

    assert said.status == 0
    assert "\n  -     with: {script: 'echo ${{ inputs.tag }}'}\n" in said.out
    assert cli("explain").out.count("\nRB") == len(FINDINGS) + len(error_classes())
    assert cli("explain", "RB454", "-o", "json").document["codes"][0]["exit_status"] == 2


def test_explain_names_the_nearest_code(cli: Any) -> None:
    said = cli("explain", "RB2011")

    assert said.status == 2
    assert "did you mean `RB201`?" in said.err


def test_warnings_count_when_asked_to(cli: Any, project: Path) -> None:
    (project / "runbooks" / "idle.yaml").write_text(
        "runbook: v1\nname: idle\ninputs: {n: {type: string, default: x}}\n"
        "steps:\n  - {id: a, uses: wait, with: {for: 1s}}\n"
    )

    assert cli("validate", "runbooks/idle.yaml").status == 0
    assert cli("validate", "runbooks/idle.yaml", "--strict").status == 2


def test_validate_takes_what_is_laid_over_runbooks_for_them(cli: Any, project: Path) -> None:
    folder = project / "runbooks"
    (folder / "environments").mkdir()
    prod, own = folder / "environments" / "prod.yaml", folder / "project.yaml"
    prod.write_text("protected: true\n")
    own.write_text("project: shop\n")
    every = cli("validate", "--output", "json").document["files"]

    by_file = [cli("validate", "-o", "json", *map(str, f)) for f in ([prod], [own], [own, prod])]
    absent = cli("validate", "runbooks/environments/absent.yaml")

    found = [[os.path.relpath(file) for file in said.document["files"]] for said in by_file]
    assert found == [every] * 3
    assert (absent.status, "absent.yaml" in absent.err) == (2, True)


def test_validate_without_any_runbook_is_refused(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "empty" / "waits.yaml")

    said = cli("validate", str(tmp_path / "empty"))

    assert said.status == 2
    assert "where a file begins with `runbook: v1`" in said.err


def test_steps_explain_a_kind_from_its_types(cli: Any) -> None:
    said = cli("steps", "wait")

    assert said.out.startswith("wait: Wait for a while")
    assert "  for  (" in said.out
    assert "required" in said.out
    assert "with: {for: 30s}" in said.out
    assert "did you mean `wait`?" in cli("steps", "wiat").err
