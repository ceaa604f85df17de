"""The JSON Schemas that editors and the program share: made from the kinds' own types, and loaded.

Keywords that editors lag behind in are avoided; dispatch on `uses` is by if/then, so that each
mistake has one message at one place. How findings become diagnostics: shape.py.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any, cast

from runbook.core.plan import JsonObject
from runbook.field_rules import DURATION, POSITIVE_DURATION, exactly_one, rule
from runbook.language.schema_environment import environment_definitions, environment_properties
from runbook.language.schema_inputs import input_definition
from runbook.language.schema_words import (
    WORD_PATTERN,
    either,
    list_of,
    map_of,
    mapping,
    models_of,
    text,
)
from runbook.language.subrunbooks import KIND
from runbook.registry import FACTS_FILE, Registry, load_shipped

NAME_PATTERN = r"^[a-z][a-z0-9_-]*$"
ID_PATTERN = r"^[a-z][a-z0-9_]*$"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


@lru_cache(maxsize=8)
def schema_for(name: str, registry: Registry) -> JsonObject:
    """The schema `runbook`, `project` or `environment`: shipped, unless there are other kinds."""
    file = f"{name}.schema.json"
    try:
        loaded: Any = load_shipped(file)
        if name != "runbook" or kinds_in(loaded) == registry.names:
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
    enum = schema["$defs"]["step"]["properties"]["uses"]["enum"]
    return tuple(name for name in enum if name != KIND)


def generate(registry: Registry) -> dict[str, str]:
    """The text of every file of `schemas/`, by its name."""
    from runbook.introspection import facts_of

    made = {
        FACTS_FILE: {name: asdict(facts_of(registry.find(name))) for name in registry.names},
        "environment.schema.json": _environment(),
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
        **mapping(
            {
                "project": text("Name of the project.", pattern=NAME_PATTERN),
                **_shared(),
            },
            required=["project"],
        ),
        "$defs": _shared_definitions(),
    }


def _environment() -> dict[str, Any]:
    from runbook.resources import RESOURCE_TYPES

    models = [model.__name__ for model in RESOURCE_TYPES.values()]
    return {
        "$schema": _DRAFT,
        "title": "runbook environment",
        "description": "What is different in one environment: data, laid over all runbooks.",
        **mapping(environment_properties()),
        "$defs": environment_definitions(_shared_definitions(), _definitions(), models),
    }


def _runbook(registry: Registry) -> dict[str, Any]:
    parameters, models = _parameters(registry)
    return {
        "$schema": _DRAFT,
        "title": "runbook",
        "description": "What to do, in order, and what to do when it goes wrong.",
        **mapping(
            {
                "runbook": {"const": "v1", "description": "Version of the language."},
                "name": text("What the runbook is called.", pattern=NAME_PATTERN),
                "summary": text("One sentence, shown by plan, history and the report."),
                "for": text("Rollbacks only: the runbook file that this one undoes."),
                "inputs": map_of("input", "Typed parameters."),
                **_shared(),
                "steps": list_of("entry", "The procedure, in order."),
                "on_failure": {"$ref": "#/$defs/on_failure"},
                "finally": list_of("step", "Steps of safe kinds that run at the end in any case."),
                "outputs": {
                    "type": "object",
                    "description": "What `steps.<id>.outputs` is of a step that uses this runbook.",
                    "additionalProperties": {"type": ["string", "number", "boolean"]},
                    "propertyNames": {"pattern": ID_PATTERN},
                },
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
        "resources": map_of("resource", "The things that steps act on."),
        "secrets": map_of("secret", "Where each secret comes from."),
        "vars": {
            "type": "object",
            "description": "Values computed once, before the first step.",
            "propertyNames": {"pattern": WORD_PATTERN},
        },
        "lock": text("The name that one run at a time may hold.", minLength=1),
    }


def _one_origin() -> dict[str, Any]:
    """The rule for secrets, silent where another message says what is wrong."""
    one: dict[str, Any] = exactly_one("env", "file", "command")
    known = {"propertyNames": {"enum": ["env", "file", "command", "timeout"]}}
    return {**one, "anyOf": [*one["anyOf"], {"not": {"type": "object"}}, {"not": known}]}


def _shared_definitions() -> dict[str, Any]:
    from runbook.resources import RESOURCE_TYPES

    references, models = models_of(RESOURCE_TYPES)
    return {
        "expression": {
            "type": "string",
            "pattern": r"\$\{\{",
            "description": "A value that is computed: ${{ … }}.",
        },
        "secret": {
            **mapping(
                {
                    "env": text("Environment variable that holds it.", pattern=WORD_PATTERN),
                    "file": text("File that holds it.", minLength=1),
                    "command": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "minLength": 1},
                        "description": "Command that prints it: program and arguments, no shell.",
                    },
                    "timeout": {
                        **POSITIVE_DURATION,
                        "description": "How long the command may take; by default 10s.",
                    },
                },
            ),
            "description": "Where a secret comes from; never the secret.",
            "allOf": [
                _one_origin(),
                rule(
                    "`timeout` goes with `command`",
                    {"anyOf": [{"not": {"required": ["timeout"]}}, {"required": ["command"]}]},
                ),
            ],
        },
        "resource": {
            **mapping(references),
            "description": "A thing that steps act on: its type, with its parameters.",
            "minProperties": 1,
            "maxProperties": 1,
        },
        **models,
    }


def _definitions() -> dict[str, Any]:
    branch = mapping({"steps": list_of("entry", "Steps of this branch, in order.")}, ["steps"])
    group = {
        "type": "array",
        "description": "Branches that run at the same time.",
        "minItems": 1,
        "items": either("steps", {"$ref": "#/$defs/branch"}, {"$ref": "#/$defs/entry"}),
    }
    return {
        "input": input_definition(),
        "entry": either(
            "parallel",
            {"$ref": "#/$defs/group"},
            either("for_each", {"$ref": "#/$defs/loop"}, {"$ref": "#/$defs/step"}),
        ),
        "loop": mapping({"for_each": _loop()}, ["for_each"]),
        "group": mapping({"parallel": group}, ["parallel"]),
        "branch": branch,
        "on_failure": {
            **mapping(
                {
                    "runbook": text("The runbook file that undoes this one.", minLength=1),
                    "after": text("A failure of a later step than this starts it."),
                    "with": {"type": "object", "description": "Its inputs."},
                },
                ["runbook"],
            ),
            "description": "The way back.",
        },
        "duration": DURATION,
        "positive_duration": POSITIVE_DURATION,
        "retry": _retry(),
    }


def _loop() -> dict[str, Any]:
    return {
        **mapping(
            {
                "in": {
                    "type": ["array", "string"],
                    "description": "A list, or `${{ vars.NAME }}` of one.",
                },
                "as": text("What expressions call the item.", pattern=ID_PATTERN),
                "steps": list_of("entry", "What is done for each item, in order."),
                "max_parallel": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "How many items are worked on at once; by default 1.",
                },
            },
            ["in", "as", "steps"],
        ),
        "description": "Steps for each item of a list.",
    }


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
        "factor": {
            "type": "number",
            "minimum": 1,
            "maximum": 100,
            "description": "By which each delay grows.",
        },
        "max_delay": {**duration, "description": "The longest delay."},
        "jitter": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Share of the delay by which it may be shortened.",
        },
    }
    return {**mapping(fields, ["attempts"]), "description": "How often it is tried again."}


def _step(registry: Registry, parameters: Mapping[str, Any]) -> dict[str, Any]:
    on_error = {
        "description": "`fail`, or {continue: reason}.",
        "if": {"type": "object"},
        "then": mapping({"continue": text("Why it may fail.", minLength=1)}, ["continue"]),
        "else": {"const": "fail"},
    }
    ids = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    fields = {
        "id": text("Unique in the runbook.", pattern=ID_PATTERN),
        "name": text("What people call it."),
        "uses": {"enum": [*registry.names, KIND], "description": "The step kind."},
        "with": {"type": "object", "description": "The kind's parameters."},
        "when": {"type": ["string", "boolean"], "description": "Bare expression; false: skipped."},
        "timeout": {
            "$ref": "#/$defs/positive_duration",
            "description": "How long an attempt may take.",
        },
        "retry": {"$ref": "#/$defs/retry"},
        "on_error": on_error,
        "undoes": {**ids, "description": "Rollbacks only: the steps that this one undoes."},
        "rerun": {
            "enum": ["safe", "probe", "ask"],
            "description": "How doubt is settled, where the kind leaves it to you.",
        },
        "irreversible": text("Why nothing need bring back what it destroys.", minLength=1),
        "guidance": text("What a person should do when it fails."),
    }
    branches = [_branch(name, parameters[name]) for name in registry.names]
    step = mapping(fields, ["id", "uses"])
    return {**step, "allOf": [*branches, _used_runbook()]}


def _used_runbook() -> dict[str, Any]:
    parameters = mapping(
        {
            "runbook": text("The runbook file whose steps stand in place of this one."),
            "inputs": {"type": "object", "description": "Its inputs."},
        },
        ["runbook"],
    )
    unfit = [
        rule(
            f"`{key}` goes with the steps of the runbook that is used",
            {"not": {"required": [key]}},
        )
        for key in ("timeout", "retry", "on_error", "rerun", "irreversible")
    ]
    return {
        "if": {"properties": {"uses": {"const": KIND}}, "required": ["uses"]},
        "then": {"properties": {"with": parameters}, "required": ["with"], "allOf": unfit},
    }


def _branch(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    then: dict[str, Any] = {"properties": {"with": {"$ref": parameters["$ref"]}}}
    if parameters["is_required"]:
        then["required"] = ["with"]
    return {"if": {"properties": {"uses": {"const": name}}, "required": ["uses"]}, "then": then}


def _parameters(registry: Registry) -> tuple[dict[str, Any], dict[str, Any]]:
    """For each kind the reference to its parameters, and every definition behind them."""
    from jsonschema.validators import Draft202012Validator

    specs = {name: registry.find(name).spec for name in registry.names}
    references, models = models_of(specs)
    for reference in references.values():
        definition = models[reference["$ref"].rsplit("/", 1)[-1]]
        reference["is_required"] = not Draft202012Validator(definition).is_valid({})
    return references, models
