"""Random texts that a regular expression matches; it may use what schemas use, and no more."""

import re
from random import Random
from typing import Any


def matching(pattern: str, dice: Random) -> str:
    """A text that a pattern matches, in JavaScript as in Python."""
    parsed = _parse(pattern)
    for _ in range(1000):
        text = _sequence(parsed, dice)
        if is_match(pattern, text):
            return text
    raise ValueError(f"found no text that `{pattern}` matches")


def is_match(pattern: str, text: str) -> bool:
    """Whether a pattern matches as in ECMA-262, where `$` is the end and never before a newline."""
    return re.search(re.sub(r"(?<!\\)\$", r"\\Z", pattern), text) is not None


def _parse(pattern: str) -> Any:
    from re import _parser  # type: ignore[attr-defined]  # what `re` itself compiles from

    return _parser.parse(pattern)


def _sequence(parsed: Any, dice: Random) -> str:
    return "".join(_one(str(code), argument, dice) for code, argument in parsed)


def _one(code: str, argument: Any, dice: Random) -> str:
    match code:
        case "LITERAL":
            return chr(argument)
        case "ANY":
            return dice.choice("az09 é")
        case "IN":
            return _of_class(argument, dice)
        case "BRANCH":
            return _sequence(dice.choice(argument[1]), dice)
        case "SUBPATTERN":
            return _sequence(argument[3], dice)
        case "MAX_REPEAT":
            least, most, inner = argument
            times = dice.randint(least, min(int(most), least + 3))
            return "".join(_sequence(inner, dice) for _ in range(times))
        case "AT" | "ASSERT" | "ASSERT_NOT":
            return ""
        case _:
            raise NotImplementedError(f"`{code}` in a pattern")


def _of_class(members: Any, dice: Random) -> str:
    code, argument = dice.choice(members)
    match str(code):
        case "LITERAL":
            return chr(argument)
        case "RANGE":
            return chr(dice.randint(*argument))
        case _:
            raise NotImplementedError(f"`{code}` in a class of a pattern")
