"""What a runbook that is used as a step is given by expressions: whether it surely fits its inputs.

Values that are written out are checked as they are; of a computed one only its declaration is known
before the run. Where that promises less than the input wants, it is refused.
"""

from collections.abc import Mapping
from contextlib import suppress

from runbook.core.plan import Json, JsonObject
from runbook.language.expressions import Expression, chain, has_expression, references_in, split
from runbook.language.inputs import NUMBER_TYPES, TEXT_TYPES, check_value
from runbook.language.patterns import matches
from runbook.language.sandbox import ExpressionInvalid, parse
from runbook.language.source import Entry, Node

Known = Mapping[str, Mapping[str, Entry]]
"""What there is of inputs and variables in the runbook that uses another."""
_GUARDS = ("choices", "pattern", "minimum", "maximum")
_TAKES = {
    "string": TEXT_TYPES,
    "choice": TEXT_TYPES,
    "number": NUMBER_TYPES,
}
"""Of which types what is given may be, where that is not the input's own alone."""


class Misgiven(ValueError):
    """What is given does not surely fit."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def held(value: Json, known: Known) -> Json:
    """The value of the variable that is given, where that is all and it has a plain one."""
    match _named(value):
        case ("vars", name) if name in known["vars"]:
            there = known["vars"][name].node
            is_plain = not any(has_expression(str(text.value)) for text in there.texts())
            return there.value if is_plain else value
        case _:
            return value


def gives_secret(value: Json, known: Known) -> bool:
    """Whether a value that is given is computed from a secret."""
    return isinstance(value, str) and any(
        _is_secret(reference.parts[0], reference.parts[1], known)
        for reference, _fragment in references_in(value)
    )


def _is_secret(root: str, name: str, known: Known) -> bool:
    there = known.get(root, {}).get(name)
    if root == "secrets" or there is None:
        return root == "secrets"
    if root == "inputs":
        sensitive = there.node.get("sensitive")
        return sensitive is not None and sensitive.value is True
    inputs_alone = {"inputs": known["inputs"]}
    return any(gives_secret(str(text.value), inputs_alone) for text in there.node.texts())


def check_computed(name: str, wanted: JsonObject, text: str, known: Known) -> None:
    """Whether what a text with expressions gives surely fits an input; raises Misgiven."""
    giving: Node | None = None
    match _named(text):
        case ("inputs", other) if other in known["inputs"]:
            giving = known["inputs"][other].node
            said = f"`inputs.{other}`"
        case _:
            said = "this expression"
    given = giving.value if giving else {}
    if not isinstance(given, dict):
        return  # which is reported where it is declared
    kind = str(wanted.get("type"))
    found = str(given.get("type", "")) if giving else _type_of(text)
    if found and found not in _TAKES.get(kind, (kind,)) and (giving or kind not in _FROM_TEXT):
        message = f"`{name}` is of type `{kind}`, and {said} of type `{found}`"
        raise Misgiven(message, f"give it what is of type `{kind}`")
    for guard in _GUARDS:
        if guard in wanted and not _ensures(guard, wanted, given):
            hint = f"give it an input that is declared with the same `{guard}`"
            raise Misgiven(f"`{name}` has `{guard}`, which {said} does not ensure", hint)


_FROM_TEXT = ("duration", "bytes", "fraction", "path", "url")
"""Types that are written as text."""


def _type_of(text: str) -> str:
    """The type of what a text gives; empty: that is not known."""
    return "string" if len(split(text)) > 1 else ""


def _named(value: Json) -> tuple[str, ...]:
    """The parts of the name that is all that a value gives; empty: it is something else."""
    pieces = split(value) if isinstance(value, str) else []
    if len(pieces) == 1 and isinstance(pieces[0], Expression):
        with suppress(ExpressionInvalid):
            return chain(parse(pieces[0].text))
    return ()


def _ensures(guard: str, wanted: JsonObject, given: JsonObject) -> bool:
    """Whether all that fits one declaration keeps within a guard of another."""
    choices = given.get("choices")
    listed = [str(each) for each in choices] if isinstance(choices, list) else []
    limit = wanted[guard]
    match guard:
        case "choices":
            return bool(listed) and isinstance(limit, list) and set(listed) <= set(map(str, limit))
        case "pattern":
            is_within = bool(listed) and all(matches(str(limit), each) for each in listed)
            return is_within or given.get("pattern") == limit
        case _:
            try:
                check_value({"type": wanted.get("type"), guard: limit}, given.get(guard))
            except ValueError:
                return False
            return True
