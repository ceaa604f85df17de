"""Rules between the fields of a model, stated in its JSON Schema: the editor knows them, too."""

from pydantic import ConfigDict

from runbook.core.plan import Json, JsonObject


def rules(*stated: JsonObject) -> ConfigDict:
    """The configuration of a model that refuses what these refuse, and nothing else.

    So that `validate` need not load the kind: what its own validators refuse must all stand here.
    """
    return ConfigDict(json_schema_extra={"allOf": [*stated]})


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
