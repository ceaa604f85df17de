"""What a type refuses is told in the language's words, whatever is tried on whichever kind."""

from typing import Any

import pytest
from pydantic import ValidationError

from runbook.misfits import in_plain_words
from runbook.registry import discover

VALUES: list[Any] = [None, [], {}, "x", "", -1, 1.5, 1e308, True, [1], {"a": 1}, [{"x": 1}]]
KINDS = discover()


@pytest.mark.parametrize("kind", KINDS.names)
def test_no_refusal_speaks_pydantic(kind: str) -> None:
    spec = KINDS.find(kind).spec
    tried = [{"no_such": 1}, *({name: value} for name in spec.model_fields for value in VALUES)]

    told = {words for given in tried for words in refusals(spec, given)}

    assert told
    foreign = ("Input", "input should", "Field required", "Extra inputs", "valid", "pydantic", "{")
    assert not [words for words in told if any(word in words for word in foreign)]


def refusals(spec: Any, given: dict[str, Any]) -> list[str]:
    try:
        spec.model_validate(given, context={"resources": {}})
    except ValidationError as error:
        return [in_plain_words(each) for each in error.errors()]
    return []


def test_what_is_asserted_and_is_no_boolean_is_told_so() -> None:
    assert refusals(KINDS.find("assert").spec, {"that": "maybe"}) == ["expected true or false"]
