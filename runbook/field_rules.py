"""What JSON Schema says of fields beyond their types, and of several together: in plain keywords,
so that the editor knows it, too.
"""

from typing import TYPE_CHECKING

from runbook.core.plan import Json, JsonObject
from runbook.units import DURATION_PATTERN, POSITIVE_DURATION_PATTERN

if TYPE_CHECKING:
    from pydantic import ConfigDict


def measure(pattern: str, **number: Json) -> JsonObject:
    """The schema of a measure: text with a unit, or a bare number."""
    return {"anyOf": [{"type": "string", "pattern": pattern}, number]}


DURATION = measure(DURATION_PATTERN, type="number", minimum=0)
POSITIVE_DURATION = measure(POSITIVE_DURATION_PATTERN, type="number", exclusiveMinimum=0)


def rules(*stated: JsonObject) -> "ConfigDict":
    """The configuration of a model that refuses what these refuse, and nothing else.

    So that `validate` need not load the kind: what its own validators refuse must all stand here.
    """
    return {"json_schema_extra": {"allOf": [*stated]}}


def rule(message: str, schema: JsonObject) -> JsonObject:
    """A JSON Schema that the parameters must fit, and what people are told where they do not."""
    return {**schema, "x-message": message}


def exactly_one(*names: str) -> JsonObject:
    """The rule that one of these parameters is given, and no other of them."""
    alternatives: list[Json] = []
    for name in names:
        others: list[Json] = [{"required": [other]} for other in names if other != name]
        unwanted: Json = others[0] if len(others) == 1 else {"anyOf": others}
        alternatives.append({"required": [name], "not": unwanted})
    listed = ", ".join(f"`{name}`" for name in names[:-1])
    return rule(f"expected either {listed} or `{names[-1]}`", {"anyOf": alternatives})


def no_more_than(count: str, names: str, most: int) -> JsonObject:
    """The rule that a count, at least 1, is not above the length of a list, where that is given."""
    lengths: list[Json] = [
        {"properties": {names: {"minItems": length}, count: {"maximum": length}}}
        for length in range(1, most + 1)
    ]
    message = f"`{count}` is more than there are in `{names}`"
    return rule(message, {"anyOf": [{"not": {"required": [names]}}, *lengths]})
