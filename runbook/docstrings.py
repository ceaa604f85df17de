"""The docstrings below a model's fields, as the descriptions in its JSON Schema.

Read when they are asked for: pydantic's own way reads every class's source at each start.
"""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from runbook.facts import nested_models


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
