"""What a name in a condition may be: its type in words, and values enough to try the condition by.

Of a number those are its bounds, what it is compared with, and what lies between; of text what it
is compared with, and some other text.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from runbook.core.events import Trigger
from runbook.core.plan import Json
from runbook.core.state import Status
from runbook.language.document import Declared, Document, Step
from runbook.language.environments import environments_beside
from runbook.language.expressions import has_expression
from runbook.language.inputs import NUMBER_TYPES, check_value, measure

_MEASURES = ("fraction", "duration", "bytes")
_MOST = 1e300
_NOT_OF_A_STEP = ("on_failure", "finally", "lock")
"""What a runbook has that no rollback could use as a step."""
_OTHER_TEXT = "\0"
"""Stands for all text that a condition does not speak of."""


@dataclass(frozen=True, slots=True)
class Domain:
    """What a name may be."""

    words: str
    """As it follows `is`."""
    kind: str
    """`boolean`, `number` or `text`."""
    values: tuple[Json, ...]
    is_listed: bool = False
    """Whether these are all that there are."""
    unit: str = ""
    """What a number was written as: `duration`, `bytes` or `fraction`."""


BOOLEAN = Domain("a boolean", "boolean", (True, False), is_listed=True)


def domain_of(
    document: Document, step: Step, parts: Sequence[str], constants: Collection[Json]
) -> Domain | None:
    """What a name may be in a step, compared with these constants; absent: that is unknown."""
    match parts:
        case ["inputs", name] if name in document.inputs:
            return _of_input(document.inputs[name], constants)
        case ["vars", name] if name in document.vars:
            return _like(document.vars[name].node.value, constants)
        case ["steps", name, "status"]:
            return _listed(map(str, _endings(document.by_id.get(name), step)))
        case ["steps", name, "started"]:
            may_be_skipped = Status.SKIPPED in _endings(document.by_id.get(name), step)
            return BOOLEAN if may_be_skipped else replace(BOOLEAN, values=(True,))
        case ["steps", _, "changed"] | ["env", "protected"]:
            return BOOLEAN
        case ["run", "trigger"]:
            is_by_itself = any(key in document.root.entries for key in _NOT_OF_A_STEP)
            is_by_itself = is_by_itself and document.undone_file is None
            return _listed(map(str, [Trigger.OPERATOR] if is_by_itself else Trigger))
        case ["env", "name"]:
            names = environments_beside(document.source.path)
            return _listed(names) if names else _text(constants)
        case ["run", "id" | "started_at"]:
            return _text(constants)
        case _:
            return None


def _endings(target: Step | None, step: Step) -> Iterable[Status]:
    """How a step may stand when another one looks at it."""
    if target is None or step.is_finally or target not in step.before():
        return Status
    may_be = {
        Status.SUCCEEDED: True,
        Status.FAILED: target.continues,
        Status.SKIPPED: "when" in target.node.entries or "undoes" in target.node.entries,
    }
    return [status for status, is_possible in may_be.items() if is_possible]


def _of_input(declared: Declared, constants: Collection[Json]) -> Domain | None:
    declaration = declared.node.value
    if not isinstance(declaration, dict) or declaration.get("sensitive", False) is not False:
        return None
    word, choices = str(declaration.get("type")), declaration.get("choices")
    found: Domain | None
    if isinstance(choices, list) and choices:
        found = _listed(each for each in choices if isinstance(each, str))
    elif word == "boolean":
        found = BOOLEAN
    elif word in NUMBER_TYPES:
        found = _of_number(word, declaration, constants)
    else:
        texts = ["", *(each for each in constants if isinstance(each, str))]
        fits = [each for each in texts if _fits(declaration, each)]
        pattern = declaration.get("pattern")
        words = f"text that matches `{pattern}`" if pattern else "text"
        found = Domain(words, "text", (*fits, _OTHER_TEXT))
    is_optional = declaration.get("required") is False and declaration.get("default") is None
    if found is None or not is_optional:
        return found
    return replace(found, values=(*found.values, None))


def _fits(declaration: Mapping[str, Json], text: str) -> bool:
    try:
        check_value(dict(declaration), text)
    except ValueError:
        return False
    return True


def _of_number(
    word: str, declaration: Mapping[str, Json], constants: Collection[Json]
) -> Domain | None:
    least = -math.inf if word in ("integer", "number") else 0.0
    most = 1.0 if word == "fraction" else math.inf
    try:
        least = max(least, _number(word, declaration.get("minimum", least)))
        most = min(most, _number(word, declaration.get("maximum", most)))
    except ValueError:
        return None  # which is reported where it is declared
    known = [each for each in constants if isinstance(each, int | float) and abs(each) < _MOST]
    bounds = [each for each in (least, most) if math.isfinite(each)]
    marks = sorted({float(each) for each in (*known, *bounds, 0)})
    tried = [near for mark in marks for near in (mark - 1, mark, mark + 1)]
    tried += [(low + high) / 2 for low, high in pairwise(marks)]
    whole = word in ("integer", "bytes")
    fitting = [each for each in tried if least <= each <= most and (not whole or each.is_integer())]
    unit = word if word in _MEASURES else ""
    words = _in_words(word, least, most)
    return Domain(words, "number", tuple(fitting), unit=unit) if fitting else None


def _number(word: str, bound: Json) -> float:
    if isinstance(bound, str) and word in _MEASURES:
        return measure(word, bound)
    if not isinstance(bound, int | float):
        raise ValueError
    return float(bound)


def _in_words(word: str, least: float, most: float) -> str:
    words = {"duration": "a number of seconds", "bytes": "a number of bytes"}.get(word, "a number")
    bounds = [f"from {least:g}"] if math.isfinite(least) else []
    bounds += [f"{'to' if bounds else 'up to'} {most:g}"] if math.isfinite(most) else []
    return " ".join([words, *bounds])


def _like(value: Json, constants: Collection[Json]) -> Domain | None:
    """Whatever has the type of a variable's value: an environment may give it another one."""
    match value:
        case bool():
            return BOOLEAN
        case int() | float():
            return _of_number("number", {}, constants)
        case str() if not has_expression(value):
            return _text(constants)
        case _:
            return None


def _listed(values: Iterable[str]) -> Domain:
    return Domain("text", "text", tuple(values), is_listed=True)


def _text(constants: Collection[Json]) -> Domain:
    texts = (each for each in constants if isinstance(each, str))
    return Domain("text", "text", ("", *texts, _OTHER_TEXT))
