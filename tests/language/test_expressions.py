"""Expressions: types, taint, and that nothing of Python can be reached."""

import time

import pytest

from runbook.core.plan import Json
from runbook.errors import ParametersInvalid
from runbook.language.expressions import (
    Evaluator,
    Expression,
    guards_of,
    references,
    split,
)
from runbook.language.sandbox import ExpressionInvalid
from runbook.secret import Secret

SCOPE: dict[str, object] = {
    "inputs": {"n": 3, "text": "abc", "list": [1, 2], "yes": True, "pin": Secret("1234")},
    "vars": {"url": Secret("https://u:hunter2@x/"), "plain": "p"},
    "env": {"name": "prod", "protected": False},
    "steps": {
        "a": {"outputs": {"items": 7, "keys": "k"}, "status": "succeeded", "changed": True},
        "b": {"outputs": {}, "status": "skipped", "changed": False},
    },
    "secrets": {"token": Secret("hunter2")},
    "resources": {"web": {"environment": {"TOKEN": Secret("hunter2")}, "argv": ["x"]}},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${{ inputs.n }}", 3),
        ("${{ inputs.yes }}", True),
        ("${{ inputs.list }}", [1, 2]),
        ("${{ inputs['text'] }}", "abc"),
        ("${{ inputs.list[1] }}", 2),
        ("${{ {'a': {'b': inputs.n}} }}", {"a": {"b": 3}}),
        ("v${{ inputs.n }}-${{ inputs.text }}", "v3-abc"),
        ("${{ inputs.n + 1 }}", 4),
        ("${{ '}}' ~ inputs.text }}", "}}abc"),
        ("a ${{ inputs.yes }} b", "a true b"),
        ("${{ steps.a.outputs.items }}", 7),
        ("${{ steps.a.outputs.keys }}", "k"),
        ("${{ steps.b.outputs.x | default('none') }}", "none"),
        ("${{ 'x' if steps.b.changed else 'y' }}", "y"),
        ("${{ inputs.text | upper | replace('B', '-') }}", "A-C"),
        ({"a": ["${{ inputs.n }}", 1, None]}, {"a": [3, 1, None]}),
        ("{{ inputs.n }} {% if x %} {# c #} ${#arr[@]} ${HOME}", None),
    ],
)
def test_a_template_has_its_value(template: Json, value: Json) -> None:
    found = Evaluator().value(template, SCOPE)

    assert found == (template if value is None else value)
    assert type(found) is type(template if value is None else value)


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "inputs.text.__class__.__mro__",
        "().__class__.__bases__[0].__subclasses__()",
        "inputs.text.upper()",
        "inputs.keys()",
        "''.format(1)",
        "inputs.text | attr('__class__')",
        "inputs | map('upper')",
        "'%99999999d' % 1",
        "'a' * 1000000000",
        "inputs.list * 1000000000",
        "2 ** 99999999",
        "9" * 900 + " * " + "9" * 900,
        "lipsum.__globals__",
        "cycler.__init__",
        "self.x",
        "range(10)",
        "dict(a=1)",
        "inputs",
        "secrets",
        "secrets[inputs.text]",
        "inputs.nothing",
        "steps.b.outputs.x",
        "nothing.at.all",
        "1 / 0",
        "1 +",
        "",
        "'ab' | int",
        "inputs.n | length",
        "((" * 900,
        "-" * 1800 + "1",
        " ~ ".join(["inputs.text"] * 30),
        "inputs.text | join",
        "1 if",
        "a = 1",
        "{% raw %}",
    ],
)
def test_what_is_not_allowed_is_refused_at_once(expression: str) -> None:
    began = time.process_time()

    with pytest.raises(ParametersInvalid) as raised:
        Evaluator().value("${{ " + expression + " }}", SCOPE)

    assert time.process_time() - began < 1
    assert expression in raised.value.message
    assert not raised.value.changed


@pytest.mark.parametrize(
    ("template", "revealed"),
    [
        ("${{ secrets.token }}", "hunter2"),
        ("Bearer ${{ secrets.token }}", "Bearer hunter2"),
        ("${{ secrets.token | upper }}", "HUNTER2"),
        ("${{ vars.url }}", "https://u:hunter2@x/"),
        ("${{ inputs.pin ~ inputs.text }}", "1234abc"),
        ("${{ 'x' if secrets.token == 'y' else 'z' }}", "z"),
        ("${{ resources.web.environment.TOKEN }}", "hunter2"),
        ("${{ secrets.token | length }}", "7"),
    ],
)
def test_what_is_computed_from_a_secret_is_a_secret(template: str, revealed: str) -> None:
    found = Evaluator().value(template, SCOPE)

    assert isinstance(found, Secret)
    assert found.reveal() == revealed


def test_every_leaf_of_a_structure_computed_from_a_secret_is_one() -> None:
    found = Evaluator().value("${{ resources.web.environment }}", SCOPE)

    assert found == {"TOKEN": Secret("hunter2")}


def test_what_has_no_secret_in_it_is_plain() -> None:
    assert Evaluator().value("${{ resources.web.argv }}", SCOPE) == ["x"]


def test_an_error_never_quotes_a_secret() -> None:
    with pytest.raises(ParametersInvalid) as raised:
        Evaluator().value("${{ secrets.token | int }}", SCOPE)

    assert "hunter2" not in raised.value.message


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("steps.a.changed", True),
        ("inputs.n > 5", False),
        ("not inputs.yes", False),
        ("false", False),
    ],
)
def test_a_condition_holds_or_not(expression: str, value: bool) -> None:
    assert Evaluator().truth(expression, SCOPE) is value


@pytest.mark.parametrize("expression", ["inputs.text", "inputs.n", "secrets.token == 'x'"])
def test_a_condition_that_is_no_boolean_or_secret_is_refused(expression: str) -> None:
    with pytest.raises(ParametersInvalid):
        Evaluator().truth(expression, SCOPE)


def test_a_text_is_split_where_expressions_begin_and_end() -> None:
    pieces = split("a ${{ x.y }}${{ '}}' }} b")

    assert pieces == [
        "a ",
        Expression("x.y", "${{ x.y }}"),
        Expression("'}}'", "${{ '}}' }}"),
        " b",
    ]


def test_an_unclosed_expression_is_refused() -> None:
    with pytest.raises(ExpressionInvalid):
        split("a ${{ {'x': 1} b")


def test_references_are_found_with_their_offsets() -> None:
    found = references("inputs.a + steps.b.outputs['c'] | default(vars.d)")

    assert [(str(name), name.is_optional) for name in found] == [
        ("inputs.a", False),
        ("steps.b.outputs.c", True),
        ("vars.d", False),
    ]
    assert found[0].offset == 0


@pytest.mark.parametrize(
    ("expression", "guarded"),
    [
        ("steps.a.outputs.x if steps.a.status == 'succeeded' else 1", True),
        ("1 if steps.a.status != 'succeeded' else steps.a.outputs.x", True),
        ("steps.a.status == 'succeeded' and steps.a.outputs.x", True),
        ("steps.a.status != 'succeeded' or steps.a.outputs.x", True),
        ("steps.a.outputs.x if steps.a.outputs.x is defined else 1", True),
        ("steps.a.outputs.x if not (steps.a.status != 'succeeded') else 1", True),
        ("steps.a.outputs.x if steps.b.status == 'succeeded' else 1", False),
        ("1 if steps.a.status == 'succeeded' else steps.a.outputs.x", False),
        ("steps.a.status == 'succeeded' or steps.a.outputs.x", False),
        ("steps.a.outputs.x if steps.a.status == 'failed' else 1", False),
        ("steps.a.outputs.x if steps.a.started else 1", False),
    ],
)
def test_a_guard_is_recognised(expression: str, guarded: bool) -> None:
    uses = [name for name in references(expression) if "outputs" in name.parts]

    assert ("a" in uses[-1].guards) is guarded


def test_a_condition_makes_the_success_of_steps_sure() -> None:
    sure = guards_of("steps.a.status == 'succeeded' and inputs.x and steps.b.status == 'succeeded'")

    assert sure == {"a", "b"}
