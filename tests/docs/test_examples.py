"""The runbooks that README and tutorial show are valid, and every link leads somewhere."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from benchmarks.diagnostics import compare
from runbook.language.checking import validate
from runbook.language.diagnostics import render_all
from runbook.language.inputs import read_inputs
from runbook.language.reading import read_source
from runbook.registry import discover
from runbook.steps._expectations import HttpExpectation, judge
from runbook.tools.http import Answer
from tests.language.generated import editor_of, schema_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = """
project: sample
resources:
  code: {git: {path: code}}
  db: {sqlite: {path: shop.db}}
  web: {process: {argv: [python3, server.py], directory: code}}
"""
ROLLBACK = """
runbook: v1
name: rollback
for: deploy.yaml
inputs:
  data: {type: choice, choices: [restore, keep]}
steps:
  - {id: point, uses: load_restore_point, when: "inputs.data == 'keep'"}
"""


def runbooks_in(page: Path) -> list[str]:
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in blocks if block.startswith("runbook: v1")]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if runbooks_in(page)], ids=lambda p: p.name
)
def test_the_runbooks_that_a_page_shows_are_valid(page: Path, tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(PROJECT)
    (tmp_path / "rollback.yaml").write_text(ROLLBACK)

    for text in runbooks_in(page):
        (tmp_path / "deploy.yaml").write_text(text)
        findings = validate(tmp_path / "deploy.yaml", registry=discover())

        assert [each.message for each in findings] == []


def test_the_tutorial_names_every_line_of_the_shipped_project_that_differs_elsewhere() -> None:
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    (changed,) = re.findall(r"```yaml\n(project: .*?)```", page, re.DOTALL)
    shipped = (ROOT / "runbooks" / "project.yaml").read_text(encoding="utf-8")

    theirs = yaml.safe_load(shipped) | yaml.safe_load(changed)

    assert theirs == yaml.safe_load(shipped.replace("scheduler", "shop"))


@pytest.mark.parametrize(
    ("runbook", "variable", "said", "meant"),
    [
        ("deploy", "GIT_BRANCH", "v9", ("revision", "v9")),
        ("deploy", "MONITORING_DURATION", "600", ("monitoring_duration", 600.0)),
        ("deploy", "ERROR_THRESHOLD", "0.2", ("error_threshold", 0.2)),
        ("rollback", "ROLLBACK_CONFIRM", "yes", ("confirm", True)),
        ("backup", "RETENTION", "14", ("retention", 14)),
        ("verify", "MONITORING_DURATION", "60", ("duration", 60.0)),
    ],
)
def test_the_variables_of_the_scripts_keep_their_meaning(
    runbook: str, variable: str, said: str, meant: tuple[str, Any]
) -> None:
    declared = yaml.safe_load((ROOT / "runbooks" / f"{runbook}.yaml").read_text())["inputs"]
    given = {"data": "keep"} if "data" in declared else {}

    values = read_inputs(declared, given, {variable: said})

    name, value = meant
    assert values[name] == value


@pytest.mark.parametrize("folder", ["runbooks", "runbooks/quickstart"])
def test_a_restore_point_can_be_named_to_each_shipped_rollback(folder: str) -> None:
    rollback = yaml.safe_load((ROOT / folder / "rollback.yaml").read_text())

    (point,) = [step for step in rollback["steps"] if step["uses"] == "load_restore_point"]

    assert rollback["inputs"]["point"]["required"] is False
    assert point["with"]["point"] == "${{ inputs.point }}"


def test_the_shipped_units_name_what_is_shipped() -> None:
    folder = ROOT / "runbooks" / "systemd"
    service = (folder / "runbook-backup.service").read_text()

    (runbook,) = re.findall(r"^ExecStart=\S+ .*run (\S+)$", service, re.MULTILINE)
    (alert,) = re.findall(r"^OnFailure=(.*)%n\.service$", service, re.MULTILINE)

    assert (ROOT / runbook).exists()
    assert (folder / f"{alert}.service").exists()
    assert (folder / "runbook-backup.timer").exists()


def test_the_shipped_runbooks_are_valid_without_a_warning() -> None:
    shipped = sorted((ROOT / "runbooks").rglob("*.yaml"))

    findings = {
        path.name: validate(path, registry=discover())
        for path in shipped
        if path.name != "project.yaml"
    }

    assert len(findings) >= 3
    assert not any(findings.values()), findings


@pytest.mark.parametrize(
    ("series", "is_well"),
    [
        ('{"metric":{"__name__":"up","job":"backend"},"value":[1764482400,"1"]}', True),
        ("", False),
    ],
)
def test_prometheus_must_have_scraped_the_backend_not_only_know_of_it(
    series: str, is_well: bool
) -> None:
    steps = yaml.safe_load((ROOT / "runbooks" / "verify.yaml").read_text())["steps"]
    checks = next(step for step in steps if step["id"] == "answers")["with"]["checks"]
    (check,) = [each for each in checks if "/api/v1/" in each.get("get", "")]
    expected = HttpExpectation.model_validate(
        {name: value for name, value in check.items() if name != "required"}
    )
    body = f'{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}'

    finding = judge(expected, Answer(status=200, body=body.encode(), seconds=0.0))

    assert parse_qs(urlsplit(check["get"]).query) == {"query": ['up{job="backend"}==1']}
    assert (finding.flaw is None) == is_well


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    missing = [link for link in links if not (page.parent / link).exists()]

    assert not missing


MISTAKES: list[dict[str, Any]] = yaml.safe_load((compare.HERE / "mistakes.yaml").read_text())
COMPARISON = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["name"])
def test_we_say_of_a_mistake_what_the_comparison_says_that_we_say(
    mistake: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("project.yaml").write_text(compare.PROJECT)
    path = Path("deploy.yaml")
    path.write_text(mistake["files"]["runbook"])

    found = validate(path, registry=discover())
    said = render_all(found)
    verdict = compare.verdict(int(any(f.is_error for f in found)), said, mistake["culprit"])
    source = read_source(path)
    is_fit = not source.diagnostics and editor_of(schema_of("runbook"))(source.root.value)

    (row,) = [line for line in COMPARISON.splitlines() if line.startswith(f"| {mistake['name']} |")]
    _, _, ours, schema_alone, *_ = [cell.strip() for cell in row.split("|")]
    assert ours == verdict
    assert (schema_alone == "–") is is_fit
    if mistake is MISTAKES[0]:
        assert said.split("\n\n", 1)[0] in COMPARISON


def test_the_comparison_has_a_row_for_each_mistake() -> None:
    rows = [line for line in COMPARISON.splitlines() if line.startswith("| ")]

    assert len(rows) - 1 == len(MISTAKES) == 12
