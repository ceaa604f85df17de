"""The JSON Schemas that editors and the program share: made from the kinds' own types, and loaded.

Keywords that editors lag behind in are avoided; dispatch on `uses` is by if/then, so that each
mistake has one message at one place. How findings become diagnostics: shape.py.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any, cast

from runbook.core.plan import Json, JsonObject
from runbook.language.inputs import INPUT_TYPES
from runbook.registry import FACTS_FILE, Registry, load_shipped
from runbook.units import DURATION_PATTERN

NAME_PATTERN = r"^[a-z][a-z0-9_-]*$"
ID_PATTERN = r"^[a-z][a-z0-9_]*$"
_WORD_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
EXPRESSION: JsonObject = {"$ref": "#/$defs/expression"}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


@lru_cache(maxsize=8)
def schema_for(name: str, registry: Registry) -> JsonObject:
    """The schema `runbook` or `project`: the shipped one, unless it knows other kinds."""
    file = f"{name}.schema.json"
    try:
        loaded: Any = load_shipped(file)
        if name == "project" or kinds_in(loaded) == registry.names:
            return cast(JsonObject, loaded)
    except FileNotFoundError:
        pass
    made: JsonObject = json.loads(generate(registry)[file])
    return made


@lru_cache(maxsize=8)
def resource_fields(registry: Registry) -> Mapping[str, tuple[str, ...]]:
    """The parameters of each resource type, by the language's word for the type."""
    definitions: Any = schema_for("project", registry)["$defs"]
    types = definitions["resource"]["properties"]
    names = {word: reference["$ref"].rsplit("/", 1)[-1] for word, reference in types.items()}
    return {word: tuple(definitions[name]["properties"]) for word, name in names.items()}


def kinds_in(schema: Any) -> tuple[str, ...]:
    """The kinds that a runbook schema knows."""
    return tuple(schema["$defs"]["step"]["properties"]["uses"]["enum"])


def generate(registry: Registry) -> dict[str, str]:
    """The text of every file of `schemas/`, by its name."""
    from runbook.introspection import facts_of

    made = {
        FACTS_FILE: {name: asdict(facts_of(registry.find(name))) for name in registry.names},
        "project.schema.json": _project(),
        "runbook.schema.json": _runbook(registry),
    }
    return {
        name: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for name, content in made.items()
    }


# --- the documents --------------------------------------------------------------------------


def _project() -> dict[str, Any]:
    return {
        "$schema": _DRAFT,
        "title": "runbook project",
        "description": "What the runbooks of this folder act on, named once.",
        **_object(
            {
                "project": _text("Name of the project.", pattern=NAME_PATTERN),
                **_shared(),
            },
            required=["project"],
        ),
        "$defs": _shared_definitions(),
    }


def _runbook(registry: Registry) -> dict[str, Any]:
    parameters, models = _parameters(registry)
    return {
        "$schema": _DRAFT,
        "title": "runbook",
        "description": "What to do, in order, and what to do when it goes wrong.",
        **_object(
            {
                "runbook": {"const": "v1", "description": "Version of the language."},
                "name": _text("What the runbook is called.", pattern=NAME_PATTERN),
                "summary": _text("One sentence, shown by plan, history and the report."),
                "for": _text("Rollbacks only: the runbook file that this one undoes."),
                "inputs": _map_of("input", "Typed parameters."),
                **_shared(),
                "steps": _list_of("entry", "The procedure, in order."),
                "on_failure": {"$ref": "#/$defs/on_failure"},
                "finally": _list_of("step", "Steps of safe kinds that run at the end in any case."),
            },
            required=["runbook", "name", "steps"],
        ),
        "$defs": {
            **_shared_definitions(),
            **_definitions(),
            "step": _step(registry, parameters),
            **models,
        },
    }


def _shared() -> dict[str, Any]:
    return {
        "resources": _map_of("resource", "The things that steps act on."),
        "secrets": _map_of("secret", "Where each secret comes from."),
        "vars": {
            "type": "object",
            "description": "Values computed once, before the first step.",
            "propertyNames": {"pattern": _WORD_PATTERN},
        },
        "lock": _text("The name that one run at a time may hold.", minLength=1),
    }


def _shared_definitions() -> dict[str, Any]:
    from runbook.resources import RESOURCE_TYPES

    references, models = _models(RESOURCE_TYPES)
    return {
        "expression": {
            "type": "string",
            "pattern": r"\$\{\{",
            "description": "A value that is computed: ${{ … }}.",
        },
        "secret": {
            **_object(
                {
                    "env": _text("Environment variable that holds it.", pattern=_WORD_PATTERN),
                    "file": _text("File that holds it.", minLength=1),
                },
            ),
            "description": "Where a secret comes from; never the secret.",
            "minProperties": 1,
            "maxProperties": 1,
        },
        "resource": {
            **_object(references),
            "description": "A thing that steps act on: its type, with its parameters.",
            "minProperties": 1,
            "maxProperties": 1,
        },
        **models,
    }


def _definitions() -> dict[str, Any]:
    branch = _object({"steps": _list_of("entry", "Steps of this branch, in order.")}, ["steps"])
    group = {
        "type": "array",
        "description": "Branches that run at the same time.",
        "minItems": 1,
        "items": _either("steps", {"$ref": "#/$defs/branch"}, {"$ref": "#/$defs/entry"}),
    }
    return {
        "input": _input(),
        "entry": _either("parallel", {"$ref": "#/$defs/group"}, {"$ref": "#/$defs/step"}),
        "group": _object({"parallel": group}, ["parallel"]),
        "branch": branch,
        "on_failure": {
            **_object(
                {
                    "runbook": _text("The runbook file that undoes this one.", minLength=1),
                    "after": _text("A failure of a later step than this starts it."),
                    "with": {"type": "object", "description": "Its inputs."},
                },
                ["runbook"],
            ),
            "description": "The way back.",
        },
        "duration": {
            "anyOf": [
                {
                    "type": "string",
                    "pattern": DURATION_PATTERN,
                    "x-measure": {"unit": "duration"},
                },
                {"type": "number", "minimum": 0},
            ]
        },
        "retry": _retry(),
    }


def _input() -> dict[str, Any]:
    scalar = ["string", "number", "boolean"]
    declared = _object(
        {
            "type": {"enum": list(INPUT_TYPES), "description": "What values it takes."},
            "default": {"type": scalar, "description": "Its value where none is given."},
            "required": {"type": "boolean", "description": "Whether one must be given."},
            "choices": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": "The values that a choice takes.",
            },
            "pattern": _text("Regular expression that the whole text must match."),
            "minimum": {"type": ["string", "number"], "description": "Least value."},
            "maximum": {"type": ["string", "number"], "description": "Greatest value."},
            "env": _text("Environment variable that gives it.", pattern=_WORD_PATTERN),
            "help": _text("What it is for."),
            "sensitive": {"type": "boolean", "description": "Whether it is a secret."},
        },
        ["type"],
    )
    needs_choices = {"properties": {"type": {"const": "choice"}}, "required": ["type"]}
    return {**declared, "if": needs_choices, "then": {"required": ["choices"]}}


def _retry() -> dict[str, Any]:
    duration = {"$ref": "#/$defs/duration"}
    fields = {
        "attempts": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "description": "Attempts in all, the first included.",
        },
        "delay": {**duration, "description": "Before the second attempt."},
        "factor": {"type": "number", "minimum": 1, "description": "By which each delay grows."},
        "max_delay": {**duration, "description": "The longest delay."},
        "jitter": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Share of the delay by which it may be shortened.",
        },
    }
    return {**_object(fields, ["attempts"]), "description": "How often it is tried again."}


def _step(registry: Registry, parameters: Mapping[str, Any]) -> dict[str, Any]:
    on_error = {
        "description": "`fail`, or {continue: reason}.",
        "if": {"type": "object"},
        "then": _object({"continue": _text("Why it may fail.", minLength=1)}, ["continue"]),
        "else": {"const": "fail"},
    }
    ids = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    fields = {
        "id": _text("Unique in the runbook.", pattern=ID_PATTERN),
        "name": _text("What people call it."),
        "uses": {"enum": list(registry.names), "description": "The step kind."},
        "with": {"type": "object", "description": "The kind's parameters."},
        "when": {"type": ["string", "boolean"], "description": "Bare expression; false: skipped."},
        "timeout": {"$ref": "#/$defs/duration", "description": "How long an attempt may take."},
        "retry": {"$ref": "#/$defs/retry"},
        "on_error": on_error,
        "undoes": {**ids, "description": "Rollbacks only: the steps that this one undoes."},
        "rerun": {
            "enum": ["safe", "probe", "ask"],
            "description": "How doubt is settled, where the kind leaves it to you.",
        },
        "irreversible": _text("Why nothing need bring back what it destroys.", minLength=1),
        "guidance": _text("What a person should do when it fails."),
    }
    branches = [_branch(name, parameters[name]) for name in registry.names]
    step = _object(fields, ["id", "uses"])
    return {**step, "allOf": branches} if branches else step


def _branch(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    then: dict[str, Any] = {"properties": {"with": {"$ref": parameters["$ref"]}}}
    if parameters["is_required"]:
        then["required"] = ["with"]
    return {"if": {"properties": {"uses": {"const": name}}, "required": ["uses"]}, "then": then}


# --- the types of kinds and resources -------------------------------------------------------


def _parameters(registry: Registry) -> tuple[dict[str, Any], dict[str, Any]]:
    """For each kind the reference to its parameters, and every definition behind them."""
    from jsonschema.validators import Draft202012Validator

    specs = {name: registry.find(name).spec for name in registry.names}
    references, models = _models(specs)
    for reference in references.values():
        definition = models[reference["$ref"].rsplit("/", 1)[-1]]
        reference["is_required"] = not Draft202012Validator(definition).is_valid({})
    return references, models


def _models(models: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    from pydantic.json_schema import models_json_schema

    from runbook.introspection import describe_fields

    describe_fields(*models.values())
    pairs = [(model, "validation") for model in dict.fromkeys(models.values())]
    found, definitions = models_json_schema(cast(Any, pairs), ref_template="#/$defs/{model}")
    by_model = {model: reference for (model, _mode), reference in found.items()}
    refined = {
        name: _refined(definition)
        for name, definition in sorted(definitions.get("$defs", {}).items())
    }
    return {name: dict(by_model[model]) for name, model in models.items()}, refined


def _refined(schema: dict[str, Any]) -> dict[str, Any]:
    """A type's schema without noise, open for expressions wherever a value stands."""
    made = {key: value for key, value in schema.items() if key not in ("title", "default")}
    if "description" in made:
        text = str(made["description"]).split("Example:", 1)[0]
        made["description"] = " ".join(text.replace("``", "`").split())
    if "properties" in made:
        made["properties"] = {
            name: _opened(_refined(value))
            for name, value in made["properties"].items()
            if not value.get("x-internal")
        }
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _opened(_refined(made[key]))
    for key in ("anyOf", "oneOf", "allOf"):
        if key in made:
            made["anyOf" if key == "oneOf" else key] = [_refined(part) for part in made.pop(key)]
    made.pop("discriminator", None)
    return _without_null(made)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Absent is written by leaving the key out, never as `null`."""
    if "anyOf" not in schema:
        return schema
    branches = [branch for branch in schema["anyOf"] if branch.get("type") != "null"]
    if len(branches) > 1:
        return {**schema, "anyOf": branches}
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**branches[0], **rest}


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or an expression."""
    branches = schema.get("anyOf", [schema])
    if schema.get("format") == "resource" or any(_takes_any_text(branch) for branch in branches):
        return schema
    described = {key: schema[key] for key in ("description",) if key in schema}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], EXPRESSION]}
    bare = {key: value for key, value in schema.items() if key != "description"}
    return {**described, "anyOf": [bare, EXPRESSION]}


def _takes_any_text(schema: dict[str, Any]) -> bool:
    constrained = ("$ref", "pattern", "enum", "const", "maxLength", "anyOf", "allOf")
    is_text = schema.get("type", "string") == "string"
    return is_text and not any(key in schema for key in constrained)


# --- small words ----------------------------------------------------------------------------


def _object(properties: Mapping[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        made["required"] = required
    return {**made, "additionalProperties": False}


def _text(description: str, **keywords: Json) -> dict[str, Any]:
    return {"type": "string", **keywords, "description": description}


def _map_of(definition: str, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "propertyNames": {"pattern": _WORD_PATTERN},
        "additionalProperties": {"$ref": f"#/$defs/{definition}"},
    }


def _list_of(definition: str, description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "description": description,
        "minItems": 1,
        "items": {"$ref": f"#/$defs/{definition}"},
    }


def _either(key: str, chosen: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "if": {"required": [key]}, "then": chosen, "else": other}
