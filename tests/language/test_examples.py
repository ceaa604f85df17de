"""What `runbook explain` shows as wrong has that finding, and what it shows as right has none."""

from pathlib import Path

import pytest

from runbook.language.checking import validate
from runbook.language.examples import examples, sides
from runbook.language.findings import FINDINGS
from runbook.registry import discover

PROJECT = """\
project: shop
resources:
  code:    {git: {path: shop}}
  db:      {sqlite: {path: shop.db}}
  uploads: {directory: {path: uploads}}
  web:     {process: {argv: [python3, server.py], directory: shop}}
"""
ROLLBACK = """\
runbook: v1
name: rollback
for: sample.yaml
inputs: {data: {type: choice, choices: [keep, restore], default: keep}}
steps:
  - {id: back, uses: wait, with: {for: 1s}, when: inputs.data == 'restore'}
"""
PART = "runbook: v1\nname: part\nsteps: [{id: settle, uses: wait, with: {for: 1s}}]\n"
SEVERAL_FILES = {"RB100", "RB108", "RB109", "RB314", "RB411", "RB412", "RB413", "RB455"}
"""What no piece of one file shows."""


def findings_in(piece: str, folder: Path) -> list[str]:
    (folder / "project.yaml").write_text(PROJECT)
    (folder / "rollback.yaml").write_text(ROLLBACK)
    (folder / "part.yaml").write_text(PART)
    steps = "" if "steps:" in piece else "\nsteps: [{id: a, uses: wait, with: {for: 1s}}]"
    path = folder / "sample.yaml"
    path.write_text(f"runbook: v1\nname: sample\n{piece}{steps}\n")
    return [found.code for found in validate(path, registry=discover())]


@pytest.mark.parametrize("code", examples())
def test_the_wrong_piece_has_that_finding_and_the_right_one_none(code: str, tmp_path: Path) -> None:
    wrong, right = sides(examples()[code])

    assert set(findings_in(wrong, tmp_path)) == {code}
    assert findings_in(right, tmp_path) == []


def test_every_finding_that_a_piece_can_show_has_one() -> None:
    assert set(FINDINGS) - set(examples()) == SEVERAL_FILES
