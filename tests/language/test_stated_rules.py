"""Rules that the real kinds state in their schemas: told at validation, no kind being loaded."""

from pathlib import Path

import pytest

from runbook.language.checking import validate
from runbook.registry import discover

HEAD = "runbook: v1\nname: deploy\nresources: {db: {sqlite: {path: shop.db}}}\n"
CASES = [
    ("command", "{argv: [a], script: b}", "RB207", "step `s`: expected either `argv` or `script`"),
    ("command", "{creates: a}", "RB207", "step `s`: expected either `argv` or `script`"),
    (
        "command",
        "{argv: [a], effect: reads, changes: db}",
        "RB207",
        "step `s`: `changes` does not go with `effect: reads`",
    ),
    (
        "command",
        "{script: 'true', shell: [bash, -eu, -c]}",
        "RB207",
        (
            "step `s`: after `-c` a shell wants the text itself, and is given the script's file;"
            " write `shell: [bash, -euo, pipefail]`"
        ),
    ),
    ("preflight", "{checks: [{}]}", "RB207", "step `s`: expected either `get` or `url`"),
    (
        "http_check",
        "{checks: [{get: 'http://a', method: POST}]}",
        "RB207",
        "step `s`: `get` goes with `method: GET` only; write `url`",
    ),
    (
        "monitor",
        "{http: {get: 'http://a'}, duration: 0s}",
        "RB206",
        "`duration`: expected a duration above zero, such as `90s`, `10m` or `1h30m`, found `0s`",
    ),
    (
        "monitor",
        "{http: {get: 'http://a'}, duration: 0}",
        "RB206",
        "`duration`: expected more than `0`, found `0`",
    ),
    (
        "monitor",
        "{http: {get: 'http://a'}, duration: 1m, error_rate: {above: 200%}}",
        "RB206",
        "`above`: expected a fraction from 0 to 1, such as `0.10` or `10%`, found `200%`",
    ),
    (
        "monitor",
        "{http: {get: 'http://a'}, duration: 1m, consecutive_failures: 3.5}",
        "RB204",
        "`consecutive_failures`: expected whole number, found number `3.5`",
    ),
    (
        "preflight",
        "{free_disk: '1.5'}",
        "RB206",
        "`free_disk`: expected a size such as `512MiB` or `10GB`, found `'1.5'`",
    ),
    (
        "preflight",
        "{free_disk: plenty}",
        "RB206",
        "`free_disk`: expected a size such as `512MiB` or `10GB`, found `plenty`",
    ),
]


@pytest.mark.parametrize(("kind", "parameters", "code", "message"), CASES)
def test_a_stated_rule_is_told_in_its_own_words(
    kind: str, parameters: str, code: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "deploy.yaml"
    text = f"{HEAD}steps:\n  - {{id: s, uses: {kind}, with: {parameters}}}\n"
    path.write_text(text, encoding="utf-8")

    found = [each for each in validate(path, registry=discover()) if each.is_error]

    assert [(each.code, each.message) for each in found] == [(code, message)]


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("command", "{argv: '${{ inputs.list }}'}"),
        ("command", "{argv: [a], effect: '${{ inputs.effect }}', changes: db}"),
        ("command", "{script: 'true', effect: reads}"),
        ("command", "{script: 'true', shell: [ionice, -c, '3', sh]}"),
        ("monitor", "{http: {get: 'http://a'}, duration: 1e-7, consecutive_failures: 3.0}"),
        ("wait", "{for: 1e+16}"),
    ],
)
def test_a_stated_rule_leaves_alone_what_is_fit_or_has_yet_to_be_computed(
    kind: str, parameters: str, tmp_path: Path
) -> None:
    path = tmp_path / "deploy.yaml"
    path.write_text(
        HEAD
        + "inputs: {list: {type: string, default: a}, effect: {type: string, default: reads}}\n"
        f"steps:\n  - {{id: s, uses: {kind}, with: {parameters}}}\n",
        encoding="utf-8",
    )

    found = [each for each in validate(path, registry=discover()) if each.is_error]

    assert found == []
