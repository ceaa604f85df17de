"""Patterns of authors that Python would match for ever end in a finding."""

from pathlib import Path

import pytest

from runbook.core.plan import JsonObject
from runbook.errors import InputError
from runbook.language.checking import validate
from runbook.language.inputs import read_inputs
from runbook.registry import Registry

HOSTILE = ["(a+)+$", "(a|aa)+b", "(.*)*x", "((a?){40}){40}b"]
TEXT = "a" * 60 + "!"


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_value_that_a_pattern_takes_too_long_for_is_refused(pattern: str) -> None:
    declared: JsonObject = {"tag": {"type": "string", "pattern": pattern}}

    with pytest.raises(InputError, match="takes too long to match"):
        read_inputs(declared, {"tag": TEXT}, {})


def test_a_default_that_a_pattern_takes_too_long_for_is_a_finding(
    tmp_path: Path, registry: Registry
) -> None:
    inputs = "".join(
        f"  a{number}: {{type: string, pattern: '(a+)+{number}', default: {TEXT}}}\n"
        for number in range(20)
    )
    path = tmp_path / "deploy.yaml"
    path.write_text(f"runbook: v1\nname: d\ninputs:\n{inputs}steps: [{{id: a, uses: confirm}}]\n")

    found = validate(path, registry=registry)

    told = [each.message for each in found if each.code == "RB407"]
    assert len(told) == 20
    assert all("takes too long to match" in message for message in told)
