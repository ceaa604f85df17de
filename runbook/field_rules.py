"""Rules between the fields of a model, stated in its JSON Schema: the editor knows them, too."""

from typing import TYPE_CHECKING

from runbook.core.plan import Json, JsonObject

if TYPE_CHECKING:
    from pydantic import ConfigDict


def rules(*stated: JsonObject) -> "ConfigDict":
    """The configuration of a model that refuses what these refuse, and nothing else.

    So that `validate` need not load the kind: what its own validators refuse must all stand here.
    """
    return {"json_schema_extra": {"allOf": [*stated]}}


def rule(message: str, schema: JsonObject) -> JsonObject:
    """A JSON Schema that the parameters must fit, and what people are told where they do not."""
    return {**schema, "x-message": message}


def exactly_one(first: str, second: str) -> JsonObject:
    """The rule that one of two parameters is given, and not both."""
    alternatives: list[Json] = [
        {"required": [first], "not": {"required": [second]}},
        {"required": [second], "not": {"required": [first]}},
    ]
    return rule(f"expected either `{first}` or `{second}`", {"anyOf": alternatives})


def no_more_than(count: str, names: str, most: int) -> JsonObject:
    """The rule that a count, at least 1, is not above the length of a list, where that is given."""
    lengths: list[Json] = [
        {"properties": {names: {"minItems": length}, count: {"maximum": length}}}
        for length in range(1, most + 1)
    ]
    message = f"`{count}` is more than there are in `{names}`"
    return rule(message, {"anyOf": [{"not": {"required": [names]}}, *lengths]})
