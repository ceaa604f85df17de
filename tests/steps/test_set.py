"""set: a value is computed once; what later steps see of it is what was recorded."""

from pathlib import Path
from typing import Any

import pytest

from runbook.language.checking import validate
from runbook.registry import discover
from runbook.steps.set import STEP, Kept, Set


@pytest.mark.parametrize("value", ["text", 7, 1.5, True, None, ["a", 1], {"a": {"b": [None]}}])
def test_it_gives_what_it_was_given(value: object, make_context: Any) -> None:
    spec = Set.model_validate({"value": value})

    assert STEP.run(spec, make_context()) == Kept(value=spec.value)
    assert spec.value == value


def test_no_secret_is_recorded_by_it(tmp_path: Path) -> None:
    path = tmp_path / "deploy.yaml"
    path.write_text(
        "runbook: v1\nname: deploy\nsecrets: {key: {env: KEY}}\nsteps:\n"
        "  - {id: kept, uses: set, with: {value: ['${{ secrets.key }}']}}\n"
    )

    (found,) = validate(path, registry=discover())

    assert (found.code, found.line) == ("RB403", 5)
    assert "`secrets.key` is secret and may not stand in `value`" in found.message
