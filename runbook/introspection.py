"""What is read off the kinds' own types: their facts, and the docstrings below their fields.

Docstrings are read when they are asked for: pydantic's own way reads every class's source at each
start.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from runbook.facts import KindFacts, ResourceUse
from runbook.kinds import StepKind
from runbook.resources import RESOURCE_TYPES
from runbook.secret import Secret


def facts_of(kind: StepKind[Any, Any]) -> KindFacts:
    """What compiling must know of a kind."""
    return KindFacts(
        effect=kind.effect,
        rerun=kind.rerun,
        holds=kind.holds,
        backs_up=kind.backs_up,
        destroys=kind.destroys,
        pins=kind.pins,
        timeout_s=kind.timeout_s,
        retry_forbidden=kind.retry_forbidden,
        outputs=tuple(kind.outputs.model_fields),
        asked_for=dict(kind.asked_for),
        resources=tuple(_resource_uses(kind.spec, (), ())),
        secrets=tuple(dict.fromkeys(_secret_places(kind.spec, ()))),
        has_rules=any(map(_has_rules, nested_models(kind.spec))),
    )


def nested_models(annotation: Any) -> "list[type[BaseModel]]":
    """Every model that a type is made of, itself included, each once."""
    found: list[type[BaseModel]] = []
    pending = [annotation]
    while pending:
        each = pending.pop()
        if isinstance(each, type) and issubclass(each, BaseModel) and get_origin(each) is None:
            if each not in found:
                found.append(each)
                pending.extend(field.annotation for field in each.model_fields.values())
        else:
            pending.extend(get_args(each))
    return found


def _has_rules(model: type[BaseModel]) -> bool:
    """Whether a model refuses more than its schema does.

    One that states rules in its schema (see field_rules.py) states all of them there. A
    validator that runs before all others fills in, and refuses nothing.
    """
    extra = model.model_config.get("json_schema_extra")
    if isinstance(extra, dict) and "allOf" in extra:
        return False
    decorators = model.__pydantic_decorators__
    after = [each for each in decorators.model_validators.values() if each.info.mode != "before"]
    return bool(after or decorators.field_validators or decorators.validators)


# --- resources ------------------------------------------------------------------------------


def _resource_uses(
    annotation: Any, metadata: tuple[Any, ...], path: tuple[str, ...]
) -> Iterator[ResourceUse]:
    """Every place in a type where a value names a resource."""
    if any(map(_is_resource_mark, metadata)):
        yield ResourceUse(path=path, types=_words_in(annotation))
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _resource_uses(arguments[0], arguments[1:], path)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _resource_uses(argument, (), path)
    elif origin in (list, tuple, dict):
        yield from _resource_uses(arguments[-1], (), (*path, "*"))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            there = (*path, field.alias or name)
            yield from _resource_uses(field.annotation, tuple(field.metadata), there)


def _secret_places(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every place in a type where a value may be a secret."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _secret_places(arguments[0], path)
    elif annotation is Secret:
        yield path
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _secret_places(argument, path)
    elif origin in (list, tuple, dict):
        yield from _secret_places(arguments[-1], (*path, "*"))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if not any(map(_is_resource_mark, field.metadata)):
                yield from _secret_places(field.annotation, (*path, field.alias or name))


def _is_resource_mark(mark: Any) -> bool:
    schema = getattr(mark, "json_schema", None)
    return isinstance(schema, dict) and schema.get("format") == "resource"


def _words_in(annotation: Any) -> tuple[str, ...]:
    models = get_args(annotation) or (annotation,)
    return tuple(word for word, model in RESOURCE_TYPES.items() if model in models)


# --- docstrings -----------------------------------------------------------------------------


def describe_fields(*models: type[BaseModel]) -> None:
    """Give every field of these models, and of those that they are made of, its docstring."""
    found = [nested for model in models for nested in nested_models(model)]
    unique = list(dict.fromkeys(found))
    for model in unique:
        texts = {key: text for base in reversed(model.__mro__) for key, text in _texts(base)}
        for name, field in model.model_fields.items():
            field.description = texts.get(name, field.description)
    # Innermost first, since a schema holds a copy of those that it is made of.
    for model in reversed(unique):
        model.model_rebuild(force=True)


def _texts(model: type[Any]) -> list[tuple[str, str]]:
    """Name and docstring of each field that a class itself declares."""
    if not issubclass(model, BaseModel) or model is BaseModel:
        return []
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    return [
        (before.target.id, inspect.cleandoc(after.value.value))
        for before, after in pairwise(definition.body)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    ]
