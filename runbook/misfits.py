"""What pydantic refuses, in the language's own words."""

from collections.abc import Mapping
from typing import Any

_EXPECTED = {
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "a string",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a mapping"),
    "finite_number": "a number that is finite",
    "none_required": "nothing",
    "greater_than": "more than `{gt}`",
    "greater_than_equal": "at least `{ge}`",
    "less_than": "less than `{lt}`",
    "less_than_equal": "at most `{le}`",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that matches `{pattern}`",
}
"""By pydantic's word for a misfit, what was expected."""


def in_plain_words(misfit: Mapping[str, Any]) -> str:
    """One of a ValidationError's `errors()`; never the value, which may be secret."""
    match misfit["type"]:
        case "value_error":
            message = str(misfit["msg"]).removeprefix("Value error, ")
            return message[:1].lower() + message[1:]
        case "missing":
            return "it is missing"
        case "extra_forbidden":
            return "there is no such key"
        case kind if kind in _EXPECTED:
            expected = _EXPECTED[kind].format_map(misfit.get("ctx", {})).replace("'", "`")
            return f"expected {expected}"
        case _:
            return "expected another value"
