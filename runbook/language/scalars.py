"""What a plain scalar means: YAML 1.2 core schema, and what JSON cannot hold is refused.

YAML 1.2.2, section 10.3.2. Unlike in PyYAML, `no`, `22:22` and dates are strings, and `010` is 10.
"""

import re

from runbook.core.plan import Json

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Json] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_DIGITS = 300
_MOST = 10.0**_MAX_DIGITS


class Unfit(ValueError):
    """JSON cannot hold this scalar."""


def resolve(text: str) -> Json:
    """The value of a plain scalar.

    Raises:
        Unfit: it must be quoted.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if len(text) > _MAX_DIGITS and _FLOAT.fullmatch(text):
        raise Unfit("is too long for a number")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return _bounded(int(text, 0))
    if _NOT_FINITE.fullmatch(text):
        raise Unfit("is no number that JSON can hold")
    if _FLOAT.fullmatch(text):
        return _bounded(float(text))
    return text


def _bounded(number: float) -> float:
    if abs(number) > _MOST:
        raise Unfit("is too large for a number")
    return number


def type_name(value: Json) -> str:
    """What people call the type of a value."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "list"
        case dict():
            return "mapping"
