"""The facts of a step kind, read off its own types."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from runbook.core.kind import KindFacts, ResourceUse
from runbook.kinds import StepKind
from runbook.resources import RESOURCE_TYPES


def facts_of(kind: StepKind[Any, Any]) -> KindFacts:
    """What compiling must know of a kind."""
    return KindFacts(
        effect=kind.effect,
        rerun=kind.rerun,
        holds=kind.holds,
        backs_up=kind.backs_up,
        destroys=kind.destroys,
        timeout_s=kind.timeout_s,
        retry_forbidden=kind.retry_forbidden,
        outputs=tuple(kind.outputs.model_fields),
        resources=tuple(_resource_uses(kind.spec, (), ())),
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

    One that states rules in its schema (see `rules` in kinds.py) states all of them there. A
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


def _is_resource_mark(mark: Any) -> bool:
    schema = getattr(mark, "json_schema", None)
    return isinstance(schema, dict) and schema.get("format") == "resource"


def _words_in(annotation: Any) -> tuple[str, ...]:
    models = get_args(annotation) or (annotation,)
    return tuple(word for word, model in RESOURCE_TYPES.items() if model in models)
