"""The JSON Schema of an environment's file: data that is laid over runbooks and their project.

What stands there is a part of a whole: nothing is required of it until it has been laid over.
"""

from typing import Any

from runbook.core.plan import WEEK
from runbook.field_rules import no_more_than
from runbook.language.schema_words import WORD_PATTERN, map_of, mapping, text

_OF_THE_WHOLE = ("required", "allOf", "anyOf", "x-message")
TIME_PATTERN = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"


def environment_properties() -> dict[str, Any]:
    """The keys of an environment's file."""
    return {
        "name": text("The environment's name: that of its file."),
        "protected": {
            "type": "boolean",
            "description": "Whether a person must type its name before a run starts.",
        },
        "vars": {
            "type": "object",
            "description": "Variables that are others here.",
            "propertyNames": {"pattern": WORD_PATTERN},
        },
        "inputs": {
            "type": "object",
            "description": "What inputs are here, where nothing else gives them.",
            "propertyNames": {"pattern": WORD_PATTERN},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
        "secrets": map_of("secret", "Where secrets come from here."),
        "resources": map_of("resource", "What is different here of the things that steps act on."),
        "overrides": {
            "type": "object",
            "description": "What is different here of steps: by runbook name and step id.",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/override"},
            },
        },
        "policy": {"$ref": "#/$defs/policy"},
    }


def environment_definitions(
    shared: dict[str, Any], own: dict[str, Any], resource_models: list[str]
) -> dict[str, Any]:
    """What the keys refer to; resources as parts."""
    parts = {name: _as_part(shared[name]) for name in resource_models}
    return {
        **shared,
        **parts,
        "duration": own["duration"],
        "positive_duration": own["positive_duration"],
        "retry": own["retry"],
        "override": {
            **mapping(
                {
                    "with": {"type": "object", "description": "Parameters; maps merge."},
                    "timeout": {"$ref": "#/$defs/positive_duration"},
                    "retry": {**own["retry"], "required": []},
                    "when": {"type": ["string", "boolean"], "description": "Bare expression."},
                }
            ),
            "description": "What is different here of one step.",
        },
        "policy": _policy(),
    }


def _as_part(model: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key not in _OF_THE_WHOLE}


def _policy() -> dict[str, Any]:
    days = {"type": "array", "minItems": 1, "items": {"enum": list(WEEK)}}
    window = mapping(
        {
            "days": {**days, "description": "On which it begins; by default all."},
            "from": text("Time of day, such as `09:00`.", pattern=TIME_PATTERN),
            "to": text("Time of day; before `from`: of the next day.", pattern=TIME_PATTERN),
            "timezone": text("IANA name, such as `Europe/Zurich`; by default UTC.", minLength=1),
        }
    )
    names = {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}
    approvals = mapping(
        {
            "required": {
                "type": "integer",
                "minimum": 1,
                "maximum": 20,
                "description": "Of how many people the yes is wanted; by default of one.",
            },
            "by": {**names, "description": "Accounts that may approve; absent: any."},
            "expires": {
                "$ref": "#/$defs/duration",
                "description": "How long a request stands; absent: for ever.",
            },
            "allow_self": {
                "type": "boolean",
                "description": "Whether whoever starts the run may be one of them.",
            },
        }
    )
    approvals["allOf"] = [no_more_than("required", "by", most=20)]
    patterns = {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}
    return {
        **mapping(
            {
                "revisions": {
                    **patterns,
                    "description": "Shell patterns of the revisions that may be released here.",
                },
                "window": {**window, "description": "When a run may start here."},
                "approvals": {
                    **approvals,
                    "description": "Whose yes a run waits for before its first step.",
                },
            }
        ),
        "description": "What is demanded of a run that a person starts; never of a way back.",
    }
