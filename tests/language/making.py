"""Random values of a JSON Schema: all that it has, sooner or later; and values with a flaw."""

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.language.matching import matching

Schema = dict[str, Any]
NUMBERS: list[float] = [
    *(0, 1, -1, 2, 7, 100, 65536, 10**18, 10**40),
    *(0.0, -0.0, 1.0, 3.0, 0.01, 0.5, 1.5, 1e16, 1e300),
]


# --- what a schema holds --------------------------------------------------------------------


def _merged(*parts: Mapping[str, Any]) -> Schema:
    """One schema that demands what all of these do, as far as they are of use to make a value."""
    made: Schema = {}
    for part in parts:
        properties = dict(made.get("properties", {}))
        for key, value in part.get("properties", {}).items():
            properties[key] = _merged(properties[key], value) if key in properties else value
        for key in _unwanted(part.get("not", {})):
            properties.pop(key, None)
        required = [*made.get("required", ()), *part.get("required", ())]
        rules = [*made.get("allOf", ()), *part.get("allOf", ())]
        made = {**made, **part, "properties": properties, "required": required, "allOf": rules}
    return {key: value for key, value in made.items() if value not in ({}, []) or key == "not"}


def _unwanted(refused: Mapping[str, Any]) -> Iterator[str]:
    """The keys that a value may not have, each by itself."""
    for part in refused.get("anyOf", [refused]):
        if part.keys() == {"required"} and len(part["required"]) == 1:
            yield from part["required"]


@dataclass(eq=False)
class Point:
    """A place in a schema: a key, an entry, a choice or one of several ways to make a value."""

    mark: str
    """What it is called; one that two kinds have in common is called the same."""
    place: str
    schema: Schema
    ways: "list[Point]" = field(default_factory=list)
    """How it may be met, where there is a choice; a value is made of one of them."""
    parts: "dict[str, Point]" = field(default_factory=dict)
    """What stands in its values, by key; `*`: under any other key, `[]`: in a list."""

    def inner(self) -> "list[Point]":
        """The points that one comes to from here."""
        return self.ways or [*self.parts.values()]


def points(schema: Schema) -> list[Point]:
    """Every point of a schema, its root first."""
    definitions = schema.get("$defs", {})
    root = Point("", "", {key: value for key, value in schema.items() if key != "$defs"})
    found: dict[str, Point] = {}
    pending = [root]
    for point in pending:

        def known(mark: str, place: str, part: Schema) -> Point:
            key = f"{mark} {place} {json.dumps(part)}"
            if key not in found:
                found[key] = Point(mark, place, part)
                pending.append(found[key])
            return found[key]

        ways = _ways(point.place, point.schema, definitions)
        point.ways = [known(*way) for way in ways]
        if not ways:
            parts = _parts(point.schema)
            names = {key: f"{point.place}.{key}" for key in parts}
            point.parts = {key: known(names[key], names[key], parts[key]) for key in parts}
    return pending


def _ways(place: str, schema: Schema, definitions: Schema) -> list[tuple[str, str, Schema]]:
    """The ways to meet a schema that leaves a choice or refers to another: mark, place, schema."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return [(name, name, _merged(definitions[name], _without(schema, "$ref")))]
    if "anyOf" in schema:
        rest = _without(schema, "anyOf")
        ways = [(f"{place}|{n}", _merged(rest, part)) for n, part in enumerate(schema["anyOf"])]
        # Of a mapping these are rules on its keys, which stay the same keys.
        return [(mark, place if "properties" in rest else mark, part) for mark, part in ways]
    if "if" in schema:
        rest = _without(schema, "if", "then", "else")
        return [
            (f"{place}?then", place, _merged(rest, schema["if"], schema["then"])),
            (f"{place}?else", place, _merged(rest, schema.get("else", {}))),
        ]
    if "allOf" in schema:
        rest, (first, *others) = _without(schema, "allOf"), schema["allOf"]
        if "if" not in first:
            return [(f"{place}&", place, _merged(rest, {"allOf": others}, first))]
        parts = enumerate(_merged(rest, part["if"], part["then"]) for part in schema["allOf"])
        return [(f"{place}&{number}", place, part) for number, part in parts]
    if isinstance(schema.get("type"), list):
        return [(f"{place}:{each}", place, {**schema, "type": each}) for each in schema["type"]]
    if "enum" in schema and "const" not in schema:
        return [(f"{place}={each}", place, {**schema, "const": each}) for each in schema["enum"]]
    return []


def _without(schema: Schema, *keywords: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keywords}


def _parts(schema: Schema) -> dict[str, Schema]:
    found = dict(schema.get("properties", {}))
    for key, word in (("items", "[]"), ("additionalProperties", "*")):
        if isinstance(schema.get(key), dict):
            found[word] = schema[key]
    return found


# --- documents ------------------------------------------------------------------------------


class Maker:
    """Makes documents of a schema; what it has not made yet comes first.

    Args:
        schema: what they mostly fit; rules that need several keys to agree are left to chance.
        dice: decides.
        texts: what stands where any text may.
        named: what stands where a thing is named, by the `format` of the text, or its pattern.
    """

    def __init__(
        self,
        schema: Schema,
        dice: Random,
        texts: Sequence[str],
        named: Mapping[str, Sequence[str]],
    ) -> None:
        self._dice = dice
        self._texts = texts
        self._named = named
        self._points = points(schema)
        self._above: dict[Point, list[Point]] = {}
        for point in self._points:
            for inner in point.inner():
                self._above.setdefault(inner, []).append(point)
        self._made: set[str] = set()
        self._new: set[str] = set()
        self._open: set[Point] = set()
        """The points that lead to what has not been made."""
        self._share = 0.0
        """How many of the keys that need not be there are there."""
        self._look_around()

    @property
    def unmade(self) -> set[str]:
        """What no document had that was kept."""
        return {point.mark for point in self._open} - self._made

    def document(self) -> Any:
        """Another document."""
        self._new, self._share = set(), self._dice.choice([0.0, 0.1, 0.4])
        return self._value(self._points[0], 0)

    def keep(self) -> None:
        """Count what the last document is made of as made."""
        if not self._new <= self._made:
            self._made |= self._new
            self._look_around()

    def _look_around(self) -> None:
        pending = [point for point in self._points if point.mark not in self._made]
        self._open = set()
        while pending:
            point = pending.pop()
            if point not in self._open:
                self._open.add(point)
                pending.extend(self._above.get(point, ()))

    def _value(self, point: Point, depth: int) -> Any:
        self._new.add(point.mark)
        if point.ways:
            return self._value(self._way(point.ways, depth), depth)
        schema = point.schema
        if "const" in schema:
            return schema["const"]
        match schema.get("type"):
            case "object":
                return self._mapping(point, depth)
            case "array":
                return self._list(point, depth)
            case "string":
                return self._text(schema)
            case "number" | "integer":
                return self._number(schema)
            case "boolean":
                return self._dice.random() < 0.5
            case _:
                return self._anything(depth)

    def _way(self, ways: list[Point], depth: int) -> Point:
        new = [way for way in ways if way in self._open]
        is_plain = depth > 9 or (not new and self._dice.random() < 0.7)
        if is_plain and ways[-1].mark.endswith("?else"):
            return ways[-1]
        return self._dice.choice(new if new and self._dice.random() < 0.8 else ways)

    def _mapping(self, point: Point, depth: int) -> dict[str, Any]:
        schema, parts = point.schema, dict(point.parts)
        made = {}
        other = parts.pop("*", None)
        if other or "properties" not in schema:
            key = Point("", "", {"type": "string", **schema.get("propertyNames", {})})
            value = other or Point("", "", {})
            for _ in range(self._dice.randint(schema.get("minProperties", 0), 2)):
                made[self._value(key, depth)] = self._value(value, depth + 1)
        chosen = self._chosen(schema, parts)
        for name, part in parts.items():
            if name in chosen or name in schema.get("required", ()):
                made[name] = self._value(part, depth + 1)
        return made

    def _chosen(self, schema: Schema, parts: Mapping[str, Point]) -> list[str]:
        """The keys that stand in a mapping though they need not."""
        optional = [name for name in parts if name not in schema.get("required", ())]
        new = [name for name in optional if parts[name] in self._open]
        chosen = {name for name in optional if self._dice.random() < self._share}
        chosen |= set(self._dice.sample(new, min(len(new), self._dice.randint(0, 2))))
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", len(parts))
        if least <= len(chosen) <= most:
            return [*chosen]
        return [self._dice.choice(new or optional)]

    def _list(self, point: Point, depth: int) -> list[Any]:
        least = point.schema.get("minItems", 0)
        part = point.parts.get("[]", Point("", "", {}))
        most = max(least, 3 if depth < 3 else 1)
        return [self._value(part, depth + 1) for _ in range(self._dice.randint(least, most))]

    def _text(self, schema: Schema) -> str:
        for key in (str(schema.get("pattern")), str(schema.get("format"))):
            if key in self._named:
                return self._dice.choice(self._named[key])
        if "pattern" in schema:
            return matching(schema["pattern"], self._dice)
        least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        return self._dice.choice([text for text in self._texts if least <= len(text) <= most])

    def _number(self, schema: Schema) -> Any:
        least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        edges = [edge for edge in (least, most) if math.isfinite(edge)]
        fit = [each for each in [*NUMBERS, *edges] if least <= each <= most]
        if schema["type"] == "integer":
            fit = [each for each in fit if float(each).is_integer()]
        return self._dice.choice(fit)

    def _anything(self, depth: int) -> Any:
        most = 2 if depth > 5 else 4
        match self._dice.randint(0, most):
            case 0:
                return self._dice.choice(self._texts)
            case 1:
                return self._dice.choice(NUMBERS)
            case 2:
                return self._dice.choice([None, True, False])
            case 3:
                return [self._anything(depth + 1) for _ in range(self._dice.randint(0, 2))]
            case _:
                texts = self._dice.sample(self._texts, self._dice.randint(0, 2))
                return {text: self._anything(depth + 1) for text in texts}


# --- flaws ---------------------------------------------------------------------------------


def spoiled(document: Any, dice: Random) -> Any:
    """A document with one thing in it that is most likely wrong."""
    spoilt = {"": copy.deepcopy(document)}
    at: Any = spoilt
    key: Any = ""
    while at[key] and isinstance(at[key], dict | list) and (key == "" or dice.random() < 0.85):
        at = at[key]
        key = dice.choice(list(at) if isinstance(at, dict) else range(len(at)))
    value = at[key]
    other: list[Any] = [None, True, 0, -1, 1.0, 0.5, 1e300, "", "0s", "no", "1", [], {}, ["a"]]
    match value:
        case str():
            other += [value + "\n", f" {value}", value.upper(), [value], value + "x", "${{ 1 }}"]
        case bool():
            other += [str(value).lower(), "yes"]
        case int() | float():
            other += [str(value), value + 0.5, -value, value * 1000]
        case list():
            other += [[*value, None], value * 2, value[:1], dict.fromkeys("a")]
        case dict():
            other += [{**value, "extra": 1}, {**value, "when": None}, [value]]
        case _:
            pass
    if isinstance(at, dict) and dice.random() < 0.3 and key != "":
        at[dice.choice([f"{key}s", f" {key}", str(key).upper(), "a b", ""])] = at.pop(key)
    elif key != "" and dice.random() < 0.2:
        del at[key]
    else:
        at[key] = dice.choice(other)
    return spoilt[""]
