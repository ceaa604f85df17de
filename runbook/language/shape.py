"""A file against its JSON Schema: every finding becomes one diagnostic at one place."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from unicodedata import category

from runbook.core.plan import JsonObject
from runbook.language.diagnostics import MAX_FINDINGS, Span, did_you_mean, one_of
from runbook.language.expressions import has_expression
from runbook.language.hints import (
    CONTINUE_HINT,
    is_explained,
    missing_hint,
    name_hint,
    type_hint,
    unknown_key_hint,
)
from runbook.language.masking import mask_secrets
from runbook.language.scalars import type_name
from runbook.language.schema import ID_PATTERN, NAME_PATTERN
from runbook.language.schema_environment import TIME_PATTERN
from runbook.language.schema_words import EXPRESSION, WORD_PATTERN
from runbook.language.source import HIDDEN, Node, Source
from runbook.units import (
    DURATION_PATTERN,
    FRACTION_PATTERN,
    POSITIVE_DURATION_PATTERN,
    SIZE_PATTERN,
)

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

_MEASURES = {
    DURATION_PATTERN: "a duration such as `90s`, `10m` or `1h30m`",
    POSITIVE_DURATION_PATTERN: "a duration above zero, such as `90s`, `10m` or `1h30m`",
    SIZE_PATTERN: "a size such as `512MiB` or `10GB`",
    FRACTION_PATTERN: "a fraction from 0 to 1, such as `0.10` or `10%`",
}
_PATTERNS = {
    **_MEASURES,
    NAME_PATTERN: "lower-case letters, digits, `-` and `_`, a letter first",
    ID_PATTERN: "lower-case letters, digits and `_`, a letter first",
    TIME_PATTERN: "a time of day such as `09:30`",
    WORD_PATTERN: "letters, digits and `_`, no digit first",
}
_NAMES = (NAME_PATTERN, ID_PATTERN, WORD_PATTERN)
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}
_TYPES = {"object": "mapping", "array": "list", "integer": "whole number", "null": "nothing"}


def check_shape(source: Source, schema: JsonObject) -> None:
    """Note everything in a file that its schema does not allow."""
    mask_secrets(source)
    if not isinstance(source.root.value, dict):
        found = type_name(source.root.value)
        message = f"expected a mapping, found {found}"
        properties: Any = schema.get("properties", {})
        hint = "begin with `runbook: v1`" if "runbook" in properties else None
        source.error("RB204", message, source.root.span, hint)
        return
    for error in validator_class()(schema).iter_errors(source.root.value):
        for leaf in _leaves(error):
            _report(source, leaf, schema)
        if len(source.diagnostics) > MAX_FINDINGS:
            return


@cache
def validator_class() -> "type[Validator]":
    """JSON Schema as editors have it: the `$` of a pattern is the end, and not before a newline."""
    from jsonschema import validators

    extend: Any = validators.extend
    made: type[Validator] = extend(validators.Draft202012Validator, {"pattern": _check_pattern})
    return made


def _check_pattern(
    _validator: object, pattern: str, value: object, _schema: object
) -> "Iterator[ValidationError]":
    from jsonschema import ValidationError

    whole = pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern
    if isinstance(value, str) and not re.search(whole, value):
        yield ValidationError(f"does not match {pattern}")


# --- which finding to show ------------------------------------------------------------------


def _leaves(error: "ValidationError") -> "Iterator[ValidationError]":
    """The findings that say what is wrong, below those that only say that something is."""
    is_choice = error.validator == "anyOf" and _stated_rule(error) is None
    branch = _nearest_branch(error) if is_choice else None
    if branch is None:
        yield error
        return
    for part in branch:
        yield from _leaves(part)


def _nearest_branch(error: "ValidationError") -> "list[ValidationError] | None":
    """The findings of the one alternative that was meant; absent: that is unclear."""
    by_branch: dict[int, list[ValidationError]] = {}
    for part in error.context or ():
        index = int(part.schema_path[0])
        if _value(error)[index] != EXPRESSION:
            by_branch.setdefault(index, []).append(part)
    if len(by_branch) == 1:
        return next(iter(by_branch.values()))
    fitting = [parts for parts in by_branch.values() if not any(map(_is_misfit, parts))]
    # Who writes neither the one word that is allowed nor a fitting value meant a value.
    values = [parts for parts in fitting if not any(map(_is_of_words, parts))] or fitting
    return values[0] if len(values) == 1 else None


def _value(error: "ValidationError") -> Any:
    """What the schema demands by the keyword that refused."""
    return error.validator_value


def _stated_rule(error: "ValidationError") -> str | None:
    """What people are told where a kind's own rule refuses; see field_rules.py."""
    schema = error.schema if isinstance(error.schema, dict) else {}
    return schema.get("x-message")


def _is_of_words(error: "ValidationError") -> bool:
    """Whether an alternative allows a few words only."""
    return error.validator in ("const", "enum") and not error.relative_path


def _is_misfit(error: "ValidationError") -> bool:
    """Whether an alternative is for another type than the value's."""
    return error.validator == "type" and not error.relative_path


# --- how it is shown ------------------------------------------------------------------------


def _report(source: Source, error: "ValidationError", schema: JsonObject) -> None:
    path = list(error.absolute_path)
    node, is_refused = _follow(source, path)
    if is_refused:
        return
    message = _stated_rule(error)
    if message is not None:
        place = _context(source, path).removeprefix(" in ")
        said = f"{place}: {message}" if place else message
        source.error("RB207", said, _key_span(source, path, node))
        return
    match error.validator:
        case "additionalProperties":
            _report_unknown_keys(source, path, node, error, schema)
        case "required":
            for key in _value(error):
                if key not in node.entries and not is_explained(key, path, node, error, schema):
                    span = _key_span(source, path, node)
                    message = f"missing key `{key}`{_context(source, path)}"
                    source.error("RB202", message, span, missing_hint(key, path))
        case "enum" | "const" if isinstance(node.value, str):
            _report_choice(source, path, node, error)
        case "type" | "anyOf" | "enum" | "const":
            _report_type(source, path, node, error)
        case _:
            _report_value(source, path, node, error)


def _follow(source: Source, path: Sequence[Any]) -> tuple[Node, bool]:
    """Where a path leads to, and whether something on it has been refused already."""
    node, is_refused = source.root, source.root.is_refused
    try:
        for part in path:
            entry = None if isinstance(part, int) else node.entries[part]
            node = entry.node if entry else node.items[part]
            is_refused = is_refused or node.is_refused or bool(entry and entry.is_refused)
    except (KeyError, IndexError):
        return source.root, is_refused
    return node, is_refused


def _report_unknown_keys(
    source: Source, path: Sequence[Any], node: Node, error: "ValidationError", schema: JsonObject
) -> None:
    known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
    for key, entry in node.entries.items():
        is_new = key not in known and not entry.is_refused
        if is_new and len(source.diagnostics) <= MAX_FINDINGS:
            message = f"unknown key `{escaped(key)}`{_context(source, path)}"
            hint = unknown_key_hint(key, path, node, error, schema)
            source.error("RB201", message, entry.key_span, hint)


def _report_choice(
    source: Source, path: Sequence[Any], node: Node, error: "ValidationError"
) -> None:
    values = _value(error) if error.validator == "enum" else [_value(error)]
    choices = [str(value) for value in values]
    found = shown(source, node)
    if path and path[-1] == "uses":
        kinds_hint = did_you_mean(str(node.value), choices) or "`runbook steps` lists all"
        said = f"unknown step kind {found}"
        if has_expression(str(node.value)):
            said = "expected a step kind; an expression cannot stand here"
        source.error("RB203", said, node.span, kinds_hint)
        return
    expected = one_of(choices) if len(choices) <= 12 else "another value"
    message = f"{_subject(path)}expected {expected}, found {found}"
    near = did_you_mean(str(node.value), choices)
    hint = near if near and near.startswith("did you mean") else None
    hint = hint or (CONTINUE_HINT if path[-1:] == ["on_error"] else None)
    source.error("RB205", message, node.span, hint)


def _report_type(source: Source, path: Sequence[Any], node: Node, error: "ValidationError") -> None:
    types = list(dict.fromkeys(_types_of(error)))
    schema = error.schema if isinstance(error.schema, dict) else {}
    measure_words = _measure_words(schema)
    words = [measure_words] if measure_words else [_TYPES.get(word, word) for word in types]
    expected = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    found = f"{type_name(node.value)} {shown(source, node)}".strip()
    message = f"{_subject(path)}expected {expected or 'another value'}, found {found}"
    is_number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if is_number and node.text not in ("", str(node.value)):
        message += f" (would be read as {node.value})"
    hint = None
    is_word = error.validator in ("enum", "const") and path[-1:] != ["on_error"]
    if not (measure_words or is_word) or node.value is None:
        hint = type_hint(types, path, node, str(schema.get("pattern", "")))
    if schema.get("format") == "resource" and node.entries:
        hint = "declare it under `resources`, and write its name here"
    if found.endswith(HIDDEN):  # what is not shown is not repeated either
        hint = "write where it comes from: `{env: NAME}`" if len(path) == 2 else None
    source.error("RB204", message, node.span, hint)


def _measure_words(schema: JsonObject) -> str | None:
    """What a duration, a size or a fraction looks like, where one is wanted."""
    branches: Any = schema.get("anyOf", ())
    return next((_MEASURES[p] for b in branches if (p := b.get("pattern")) in _MEASURES), None)


def _types_of(error: "ValidationError") -> Iterable[str]:
    if error.validator != "anyOf":
        wanted = _value(error) if error.validator == "type" else "string"
        yield from [wanted] if isinstance(wanted, str) else wanted
        return
    for part in error.context or ():
        is_expression = _value(error)[int(part.schema_path[0])] == EXPRESSION
        if not is_expression and _is_misfit(part):
            yield from _types_of(part)


def _report_value(
    source: Source, path: Sequence[Any], node: Node, error: "ValidationError"
) -> None:
    found = shown(source, node)
    limit = _value(error)
    span, hint = node.span, None
    match error.validator:
        case "pattern":
            words = _PATTERNS.get(limit, f"text that matches `{limit}`")
            key = node.entries.get(str(error.instance))
            text = str(error.instance)
            if key is not None and key.is_refused:
                return
            if key is not None:
                span, found = key.key_span, f"`{text}`"
            if has_expression(text):
                message = f"expected {words}; an expression cannot stand here"
            else:
                message = f"expected {'a key of ' * bool(key)}{words}, found {escaped(found)}"
                hint = name_hint(text, limit) if limit in _NAMES and found != HIDDEN else None
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            message = f"expected {_BOUNDS[error.validator]} `{limit}`, found {found}"
        case "minItems" | "minLength" | "minProperties":
            span = _key_span(source, path, node) if not node.text else span
            message = f"expected at least one {_one(error.validator)}, found none"
            hint = CONTINUE_HINT if path[-2:] == ["on_error", "continue"] else None
        case "maxProperties":
            span = list(node.entries.values())[-1].key_span
            message = f"expected one key, found {len(node.entries)}"
        case _:
            message = f"does not fit `{error.validator}: {limit}`"
    source.error("RB206", f"{_subject(path)}{message}", span, hint)


def _one(validator: str) -> str:
    return {"minItems": "entry", "minLength": "character"}.get(validator, "key")


def _subject(path: Sequence[Any]) -> str:
    keys = [part for part in path if isinstance(part, str)]
    if not keys:
        return ""
    return f"an entry of `{keys[-1]}`: " if isinstance(path[-1], int) else f"`{keys[-1]}`: "


def shown(source: Source, node: Node) -> str:
    """A value as it is written, for a message; empty where it is long, or has none of its own."""
    if node.span in (node.span.origin or source).masked:
        return HIDDEN
    if not node.text or "\n" in node.text or has_expression(node.text):
        return ""
    return f"`{node.text}`" if len(node.text) <= 60 else f"`{node.text[:60]}…`"


def escaped(text: str) -> str:
    """A text with its blanks that are no plain spaces made visible."""
    return "".join(f"\\u{ord(c):04x}" if category(c) == "Zs" and c != " " else c for c in text)


def _key_span(source: Source, path: Sequence[Any], node: Node) -> Span:
    """The key that a value stands under; in a list or at the top, its own first key.

    Where another file was laid over it, that file's first key in it.
    """
    for entry in node.entries.values():
        if entry.key_span.origin and entry.key_span.origin is not node.span.origin:
            return entry.key_span
    if path and isinstance(path[-1], str):
        return source.root.at(path[:-1]).entries[path[-1]].key_span
    if node.entries:
        return next(iter(node.entries.values())).key_span
    return node.span


def _context(source: Source, path: Sequence[Any]) -> str:
    """` in step `dump``: the innermost step, input, resource or key that a path leads through."""
    node, context = source.root, ""
    for position, part in enumerate(path):
        node = node.items[part] if isinstance(part, int) else node.entries[part].node
        step_id = node.text_of("id")
        if isinstance(part, int) and step_id:
            context = f" in step `{step_id}`"
        elif position == 1 and path[0] in ("inputs", "resources", "secrets"):
            context = f" in {str(path[0])[:-1]} `{part}`"
        elif position == 0 and part in ("on_failure",):
            context = f" in `{part}`"
    return context
