"""What an author should type next, where the shape of a file is wrong: see shape.py."""

import re
from collections.abc import Sequence
from typing import Any
from unicodedata import category

from runbook.core.plan import JsonObject
from runbook.language.diagnostics import did_you_mean
from runbook.language.inputs import INPUT_TYPES
from runbook.language.source import Node

_OTHER_WORDS = {
    "action": "uses",
    "args": "with",
    "continue-on-error": "on_error",
    "description": "summary",
    "if": "when",
    "ignore_errors": "on_error",
    "jobs": "steps",
    "kind": "uses",
    "params": "with",
    "run": "uses",
    "tasks": "steps",
    "timeout-minutes": "timeout",
    "version": "runbook",
}
"""What other tools call it."""
_MISSING = {
    "runbook": "write `runbook: v1` at the top",
    "name": "call it something: `name: deploy`",
    "steps": "list them: `steps: [{id: …, uses: …}]`",
    "id": "give the step a name of its own: `id: …`",
    "uses": "`runbook steps` lists the step kinds",
    "with": "`runbook steps KIND` shows its parameters",
    "type": "say what it takes: `type: string`",
    "choices": "list them: `choices: [a, b]`",
    "attempts": "say how often in all: `attempts: 3`",
}
_MAPPINGS = {
    "on_failure": ("runbook", "rollback.yaml"),
    "retry": ("attempts", "3"),
}
"""Keys whose one value people write where a mapping is wanted, with the key that it has there."""
CONTINUE_HINT = "write `on_error: {continue: why the run may go on}`"
_GROUPS = ("parallel", "steps", "for_each")


def missing_hint(key: str, path: Sequence[Any]) -> str | None:
    """How to write a key that must be there, in the mapping that a path leads to."""
    if key == "runbook" and path:
        return "name its file: `runbook: rollback.yaml`"
    return None if key == "name" and path else _MISSING.get(key)


def is_explained(key: str, path: Sequence[Any], node: Node, error: Any, schema: JsonObject) -> bool:
    """Whether a missing key is there under a wrong name or in a wrong place, which is reported."""
    if key == "with" and any(name in _parameters(node, schema) for name in node.entries):
        return True
    known = _known(error)
    unknown = [name for name in node.entries if known and name not in known]
    if any(node.entries[name].is_refused for name in unknown):
        return True
    groups = _GROUPS if "uses" in known else ()
    return any(
        _OTHER_WORDS.get(name) == key or _joined(name, [key]) or _near(name, [key, *groups])
        for name in unknown
    )


def _known(error: Any) -> list[str]:
    """The keys that a mapping may have; empty where it may have any."""
    schema = error.schema if isinstance(error.schema, dict) else {}
    is_open = schema.get("additionalProperties", True)
    return [] if is_open else list(schema.get("properties", {}))


def unknown_key_hint(
    key: str, path: Sequence[Any], node: Node, error: Any, schema: JsonObject
) -> str | None:
    """What was meant by a key that nothing reads."""
    known = _known(error)
    missing = [name for name in known if name not in node.entries]
    is_step = "uses" in known
    meant = _OTHER_WORDS.get(key)
    steps = _properties(schema, "step")
    if _joined(key, known):
        return _joined(key, known)
    if is_step and key in _GROUPS and path[0] == "finally":
        return "groups and loops stand under `steps` only: list the steps one by one"
    if meant in missing:
        return f"did you mean `{meant}`?"
    if is_step and key in _parameters(node, schema):
        return "put it under `with`"
    if is_step and key in _properties(schema, "retry"):
        return "put it under `retry`"
    if path and path[-1] == "with" and key in steps:
        return "put it beside `with`, not under it"
    if not path and key in steps:
        return "put it in a step"
    near = _near(key, [*missing, *(_GROUPS if is_step else ())])
    return f"did you mean `{near}`?" if near else did_you_mean(key, missing or known)


def _joined(name: str, known: Sequence[str]) -> str | None:
    """How to write a key that its value was joined to: `id:look`, or by a no-break space."""
    key, colon, value = name.partition(":")
    return f"write `{key}: {value.strip()}`, with a plain space" if colon and key in known else None


def _near(name: str, known: Sequence[str]) -> str | None:
    said = did_you_mean(name, known) or ""
    found = re.fullmatch(r"did you mean `(.*)`\?", said)
    return found[1] if found else None


def _properties(schema: JsonObject, definition: str) -> dict[str, Any]:
    definitions: Any = schema.get("$defs", {})
    found: dict[str, Any] = definitions.get(definition, {}).get("properties", {})
    return found


def _parameters(node: Node, schema: JsonObject) -> dict[str, Any]:
    """The parameters of the kind that a step uses; none where that is unclear."""
    definitions: Any = schema.get("$defs", {})
    for branch in definitions.get("step", {}).get("allOf", ()):
        if branch["if"]["properties"]["uses"]["const"] == node.text_of("uses"):
            found: dict[str, Any] = branch["then"]["properties"]["with"]
            name = found.get("$ref", "").rsplit("/", 1)[-1]
            return _properties(schema, name) if name else found["properties"]
    return {}


def type_hint(types: Sequence[str], path: Sequence[Any], node: Node, pattern: str) -> str | None:
    """How to write a value of the type that is wanted.

    Args:
        types: what may stand there, as JSON Schema calls it.
        path: where the value stands.
        node: the value.
        pattern: what a text must match there; empty: any will do.
    """
    value = node.value
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    is_step = bool(path) and isinstance(path[-1], int) and key in ("steps", "finally", "parallel")
    if is_step and not isinstance(value, dict):
        return "write a step: `{id: …, uses: …}`"
    if key == "on_error" or list(path[-2:]) == ["on_error", "continue"]:
        return CONTINUE_HINT
    if value is None:
        is_key = bool(path) and path[-1] == key
        hint = missing_hint(key, path[:-1]) if is_key else None
        return hint or "give it a value, or remove it"
    if "boolean" in types and isinstance(value, str | int):
        word = str(value).lower()
        if word in ("yes", "on", "y", "true", "1"):
            return "write `true`"
        if word in ("no", "off", "n", "false", "0"):
            return "write `false`"
    if "string" in types and isinstance(value, int | float):
        return f"quote it: '{node.text}'" if re.search(pattern, node.text) else None
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return f"write `{int(value)}`"
    is_numeric = "number" in types or "integer" in types
    if is_numeric and isinstance(value, str) and node.text[:1] in ("'", '"'):
        return "remove the quotes"
    if list(path[:-1]) == ["inputs"] and value in INPUT_TYPES:
        return f"write `{{type: {value}}}`"
    if list(types) == ["array"]:
        return _list_hint(node)
    if "object" in types and path and path[-1] in _MAPPINGS and not node.items:
        inner, example = _MAPPINGS[path[-1]]
        shown = node.text if node.text and "\n" not in node.text else example
        return f"write `{{{inner}: {shown}}}`"
    return None


def _list_hint(node: Node) -> str:
    if node.entries:
        return "begin each of its entries with `- `"
    return f"write `[{node.text}]`" if node.text and len(node.text) < 40 else "write it as a list"


def name_hint(text: str, pattern: str) -> str | None:
    """The name that was most likely meant by a text that cannot be one."""
    seen = "".join(character for character in text if category(character) != "Cf")
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", seen.strip()).strip("_")
    for candidate in (plain, plain.lower()):
        if candidate and re.search(pattern, candidate):
            return f"write `{candidate}`"
    return None
