"""What stands written out where a secret's origin should is in no finding, whatever is wrong."""

from pathlib import Path

import pytest

from runbook.language.checking import validate
from runbook.language.diagnostics import render_all, to_json
from runbook.registry import discover

STEPS = "steps: [{id: look, uses: wait, with: {for: 1s}}]\n"
WRITTEN_OUT = {
    "quote not closed": 'secrets:\n  db: "hunter2\n',
    "colon": "secrets:\n  db: hunter2: x\n",
    "bracket not closed": "secrets:\n  db: {env hunter2: [}\n",
    "tag": "secrets:\n  db: !hunter2 x\n",
    "after a tag": "secrets:\n  db: !x hunter2\n",
    "alias": "secrets:\n  db: *hunter2\n",
    "merge key": "secrets:\n  db: {<<: hunter2}\n",
    "duplicate key": "secrets:\n  db: hunter2\n  db: hunter22\n",
    "tab": "secrets:\n\tdb: hunter2\n",
    "invisible character": 'secrets:\n  db: "hunter2\x07"\n',
    "not UTF-8": "secrets:\n  db: hunter2\udcff\n",
    "a key": "secrets: {db: {hunter2}}\n",
    "misspelt": "Secrets: {db: hunter2}\n",
    "expression": 'secrets: {db: {env: "${{ hunter2 }}"}}\n',
    "default, quote not closed": (
        'inputs:\n  t:\n    type: string\n    sensitive: true\n    default: "hunter2\n'
    ),
    "default, misspelt": (
        "inputs: {t: {type: string, sensitive: true, env: T, defualt: hunter2}}\n"
    ),
}


@pytest.mark.parametrize("case", WRITTEN_OUT)
def test_a_secret_that_is_written_out_is_not_shown(case: str, tmp_path: Path) -> None:
    path = tmp_path / "deploy.yaml"
    text = f"runbook: v1\nname: deploy\n{WRITTEN_OUT[case]}{STEPS}"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    found = validate(path, registry=discover())

    assert any(diagnostic.is_error for diagnostic in found)
    assert "hunter2" not in render_all(found) + str(to_json(found))


def test_nor_one_that_an_environment_gives_a_sensitive_input(tmp_path: Path) -> None:
    sensitive = "inputs: {t: {type: integer, sensitive: true, env: T}}\n"
    (tmp_path / "deploy.yaml").write_text(f"runbook: v1\nname: deploy\n{sensitive}{STEPS}")
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "prod.yaml").write_text("inputs: {t: hunter2, u: 1}\n")

    found = validate(tmp_path / "deploy.yaml", registry=discover())

    assert [diagnostic.code for diagnostic in found if diagnostic.is_error] == ["RB408", "RB412"]
    assert "hunter2" not in render_all(found)
    assert "inputs: {t: *******, u: 1}" in render_all(found)
