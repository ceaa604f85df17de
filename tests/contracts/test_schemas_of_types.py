"""What the schema of a kind or resource accepts, its type accepts: no surprise at run time.

Documents are made from the shipped schema itself, at its edges too; those that it accepts, and that
hold no expression, must be accepted by the type.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runbook.facts import ResourceUse
from runbook.language.shape import validator_class
from runbook.registry import discover
from runbook.resources import RESOURCE_TYPES

SCHEMAS = Path(__file__).parents[2] / "schemas"
DEFINITIONS: dict[str, Any] = json.loads(
    (SCHEMAS / "runbook.schema.json").read_text(encoding="utf-8")
)["$defs"]
REGISTRY = discover()
PARAMETERS: dict[str, dict[str, Any]] = {
    branch["if"]["properties"]["uses"]["const"]: branch["then"]["properties"]["with"]
    for branch in DEFINITIONS["step"]["allOf"]
}
_SAMPLES: dict[str, Any] = {
    "git": {"path": "a"},
    "sqlite": {"path": "a"},
    "directory": {"path": "a"},
    "process": {"argv": ["a"], "directory": "a"},
    "http": {"url": "http://a"},
    "compose": {"project": "a", "files": ["a"]},
    "postgres": {"service": "a/b", "database": "a", "user": "a"},
    "volume": {"name": "a"},
    "s3": {"url": "http://a", "bucket": "abc", "access_key": "a", "secret_key": "a"},
}
RESOURCES = {
    word: model.model_validate(_SAMPLES[word], context={"base": "/"})
    for word, model in RESOURCE_TYPES.items()
}

# --- documents of a schema ------------------------------------------------------------------

# Files are UTF-8, so their text holds no surrogates.
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.one_of(
    st.integers(-2, 400),
    st.integers(10**30, 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, -0.0, 0.01, 1.5]),
)
SCALARS = st.one_of(TEXT, NUMBERS, st.booleans())
ANYTHING = st.recursive(
    st.one_of(SCALARS, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXT, inner, max_size=2)),
    max_leaves=4,
)


def documents(schema: Mapping[str, Any], resource: str) -> st.SearchStrategy[Any]:
    """Values that a schema might accept; `resource` stands where one is named."""
    if "$ref" in schema:
        return documents(DEFINITIONS[schema["$ref"].rsplit("/", 1)[-1]], resource)
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if schema.get("format") == "resource":
        return st.just(resource)
    if "anyOf" in schema:
        branches = [part for part in schema["anyOf"] if part != {"$ref": "#/$defs/expression"}]
        return st.one_of([documents(part, resource) for part in branches])
    match schema.get("type"):
        case "object":
            return _objects(schema, resource)
        case "array":
            return st.lists(
                documents(schema["items"], resource),
                min_size=schema.get("minItems", 0),
                max_size=3,
            )
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"])
        case "string":
            return st.one_of(TEXT, st.sampled_from(["http://a", "a/b", "\x00"]))
        case "number" | "integer":
            return st.one_of(st.integers(0, 400), NUMBERS)
        case "boolean":
            return st.booleans()
        case _:
            return ANYTHING


def _objects(schema: Mapping[str, Any], resource: str) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        values = schema.get("additionalProperties")
        inner = documents(values, resource) if isinstance(values, dict) else ANYTHING
        return st.dictionaries(TEXT, inner, max_size=2)
    fields = {key: documents(value, resource) for key, value in schema["properties"].items()}
    alternatives = [part for rule in schema.get("allOf", ()) for part in rule.get("anyOf", ())]
    return st.one_of(
        [_with_keys(fields, schema, alternative) for alternative in alternatives or [{}]]
    )


def _with_keys(
    fields: Mapping[str, st.SearchStrategy[Any]],
    schema: Mapping[str, Any],
    alternative: Mapping[str, Any],
) -> st.SearchStrategy[dict[str, Any]]:
    """With what a schema and one alternative of its rules require, without what that excludes."""
    required = {*schema.get("required", ()), *alternative.get("required", ())}
    left = fields.keys() - required - {*alternative.get("not", {}).get("required", ())}
    return st.fixed_dictionaries(
        {key: value for key, value in fields.items() if key in required},
        optional={key: value for key, value in fields.items() if key in left},
    )


@dataclass(frozen=True)
class Branch:
    """The part of the schema that is one type's."""

    made: st.SearchStrategy[Any]
    validator: Any
    uses: tuple[ResourceUse, ...] = ()
    """Where a resource is named; by then by the name of the first type that will do."""

    def draw(self, data: st.DataObject) -> Any:
        """A document that the schema accepts, and in which nothing has yet to be computed."""
        document = data.draw(self.made)
        for use in self.uses:
            (key, *deeper) = use.path
            if not deeper and document.get(key) is not None:
                document[key] = _one_for(use)
        assume("${{" not in json.dumps(document))
        assume(self.validator.is_valid(document))
        return document


def _one_for(use: ResourceUse) -> str:
    """A resource that may stand there; each is named as its type."""
    return next(iter(use.types or RESOURCES))


@cache
def branch(name: str) -> Branch:
    """The branch of a kind, or of a resource type."""
    if name in RESOURCE_TYPES:
        uses: tuple[ResourceUse, ...] = ()
        schema, word = DEFINITIONS["resource"]["properties"][name], ""
    else:
        uses = REGISTRY.facts(name).resources
        schema, word = PARAMETERS[name], _one_for(uses[0]) if uses else ""
    whole: Any = {**schema, "$defs": DEFINITIONS}
    return Branch(documents(schema, word), validator_class()(whole), uses)


# --- the promise ----------------------------------------------------------------------------

MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


@pytest.mark.parametrize("name", REGISTRY.names)
@MANY
@given(data=st.data())
def test_a_kind_accepts_what_its_schema_accepts(name: str, data: st.DataObject) -> None:
    document = branch(name).draw(data)
    kind = REGISTRY.find(name)

    context = {"base": "/", "resources": RESOURCES}
    try:
        kind.spec.model_validate(document, context=context)
    except ValidationError as error:
        assert REGISTRY.facts(name).has_rules, f"{document} fits the schema, but: {error}"


@pytest.mark.parametrize("word", RESOURCE_TYPES)
@MANY
@given(data=st.data())
def test_a_resource_accepts_what_its_schema_accepts(word: str, data: st.DataObject) -> None:
    document = branch(word).draw(data)

    model = RESOURCE_TYPES[word].model_validate(document, context={"base": "/"})

    assert isinstance(model, RESOURCE_TYPES[word])


@pytest.mark.parametrize("name", REGISTRY.names)
def test_a_kind_without_required_parameters_may_stand_without_with(name: str) -> None:
    then = next(
        each["then"]
        for each in DEFINITIONS["step"]["allOf"]
        if each["if"]["properties"]["uses"]["const"] == name
    )

    if "required" not in then:
        REGISTRY.find(name).spec.model_validate({}, context={"base": "/", "resources": RESOURCES})
