"""The checked-in schemas are what the kinds' types make of them."""

import json
from pathlib import Path

import pytest

from runbook.language.schema import generate
from runbook.registry import discover

SCHEMAS = Path(__file__).parents[2] / "schemas"


def test_the_checked_in_schemas_are_the_generated_ones(pytestconfig: pytest.Config) -> None:
    made = generate(discover())

    if pytestconfig.getoption("--generate", default=False):
        for name, text in made.items():
            (SCHEMAS / name).write_text(text, encoding="utf-8")
    checked_in = {name: (SCHEMAS / name).read_bytes() for name in made if (SCHEMAS / name).exists()}

    assert checked_in == {name: text.encode() for name, text in made.items()}, "run: make generate"


@pytest.mark.parametrize("name", ["runbook", "project"])
def test_a_schema_is_itself_valid_and_uses_only_what_editors_know(name: str) -> None:
    from jsonschema import Draft202012Validator

    text = (SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8")

    Draft202012Validator.check_schema(json.loads(text))

    for keyword in ('"oneOf"', '"unevaluatedProperties"', '"prefixItems"', '"$dynamicRef"'):
        assert keyword not in text
