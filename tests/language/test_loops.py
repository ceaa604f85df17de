"""A loop is the same as what its author would have written out by hand."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.core.plan import Plan
from runbook.language.checking import validate
from runbook.language.compile import compile_runbook
from runbook.language.rewriting import _tokens, literal
from runbook.language.sandbox import environment
from runbook.registry import discover

HEAD = "runbook: v1\nname: deploy\n"


def plan_of(folder: Path, text: str, **options: Any) -> Plan:
    path = folder / "deploy.yaml"
    path.write_text(HEAD + text)
    return compile_runbook(path, registry=discover(), read=lambda _declared: {}, **options)


def steps_of(plan: Plan) -> dict[str, tuple[object, ...]]:
    """By id all that decides: what a step does, after what, and whether."""
    return {
        step.id: (step.kind, step.params, step.needs, step.when, step.name, step.undoes)
        for step in plan.steps
    }


LOOP = """\
vars:
  services: [{name: web-1, port: 80, slow: true}, {name: api, port: 81, slow: false}]
steps:
  - {id: begin, uses: set, with: {value: 1}}
  - for_each:
      in: ${{ vars.services }}
      as: service
      steps:
        - id: say
          name: Say ${{ service.name }}
          uses: command
          rerun: safe
          with: {argv: [echo, "port ${{ service.port + 1 }}", "${{ service['name'] }}"]}
          when: service.slow and steps.begin.changed
        - id: keep
          uses: set
          with:
            value: ["${{ service }}", "${{ service.port + steps.begin.outputs.value }}"]
        - {id: last, uses: set, with: {value: "${{ steps.keep.outputs.value }}"}}
  - {id: end, uses: set, with: {value: "${{ steps.keep_api.outputs.value }}"}}
"""
BY_HAND = """\
vars:
  services: [{name: web-1, port: 80, slow: true}, {name: api, port: 81, slow: false}]
steps:
  - {id: begin, uses: set, with: {value: 1}}
  - id: say_web_1
    name: Say web-1
    uses: command
    rerun: safe
    with: {argv: [echo, port 81, web-1]}
    when: true and steps.begin.changed
  - id: keep_web_1
    uses: set
    with: {value: [{name: web-1, port: 80, slow: true}, "${{ 80 + steps.begin.outputs.value }}"]}
  - {id: last_web_1, uses: set, with: {value: "${{ steps.keep_web_1.outputs.value }}"}}
  - id: say_api
    name: Say api
    uses: command
    rerun: safe
    with: {argv: [echo, port 82, api]}
    when: false and steps.begin.changed
  - id: keep_api
    uses: set
    with: {value: [{name: api, port: 81, slow: false}, "${{ 81 + steps.begin.outputs.value }}"]}
  - {id: last_api, uses: set, with: {value: "${{ steps.keep_api.outputs.value }}"}}
  - {id: end, uses: set, with: {value: "${{ steps.keep_api.outputs.value }}"}}
"""


def test_a_loop_is_planned_as_if_it_had_been_written_out(tmp_path: Path) -> None:
    assert steps_of(plan_of(tmp_path, LOOP)) == steps_of(plan_of(tmp_path, BY_HAND))


@pytest.mark.parametrize(
    ("lanes", "needs"),
    [
        (1, {"a_1": (), "a_2": ("a_1",), "a_3": ("a_2",), "z": ("a_3",)}),
        (2, {"a_1": (), "a_2": (), "a_3": ("a_1",), "z": ("a_3", "a_2")}),
        (9, {"a_1": (), "a_2": (), "a_3": (), "z": ("a_1", "a_2", "a_3")}),
    ],
)
def test_no_more_items_at_once_than_lanes(
    tmp_path: Path, lanes: int, needs: dict[str, tuple[str, ...]]
) -> None:
    body = "[{id: a, uses: set, with: {value: '${{ n }}'}}]"
    loop = f"{{in: [1, 2, 3], as: n, max_parallel: {lanes}, steps: {body}}}"
    text = f"steps:\n  - for_each: {loop}\n  - {{id: z, uses: set, with: {{value: 1}}}}\n"

    plan = plan_of(tmp_path, text)

    assert {step.id: step.needs for step in plan.steps} == needs


def test_loops_nest_and_stand_in_branches_and_may_be_empty(tmp_path: Path) -> None:
    text = """\
steps:
  - parallel:
      - for_each:
          in: [{name: x, parts: [1, 2]}, {name: y, parts: []}]
          as: outer
          steps:
            - for_each:
                in: ${{ outer.parts }}
                as: inner
                steps: [{id: a, uses: set, with: {value: "${{ outer.name ~ inner }}"}}]
      - {id: b, uses: set, with: {value: 1}}
  - for_each: {in: [], as: none_of_these, steps: [{id: c, uses: set, with: {value: 1}}]}
  - {id: d, uses: set, with: {value: 1}}
"""
    steps = steps_of(plan_of(tmp_path, text))

    assert [(step, values[1:3]) for step, values in steps.items()] == [
        ("a_x_1", ({"value": "x1"}, ())),
        ("a_x_2", ({"value": "x2"}, ("a_x_1",))),
        ("b", ({"value": 1}, ())),
        ("d", ({"value": 1}, ("a_x_2", "b"))),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "for_each: {in: [], as: n, steps: [{id: a, uses: set, with: {value: 1}}]}",
        "parallel: [{for_each: {in: [], as: n, steps: [{id: a, uses: set, with: {value: 1}}]}}]",
        "parallel: [{steps: [{for_each: {in: [], as: n, steps: [{id: a, uses: confirm}]}}]}]",
    ],
)
def test_a_loop_over_nothing_leaves_nothing_and_not_an_empty_group(
    tmp_path: Path, entry: str
) -> None:
    alone = tmp_path / "alone.yaml"
    alone.write_text(f"{HEAD}steps:\n  - {entry}\n")
    rest = "  - {id: z, uses: set, with: {value: 1}}\n"

    found = validate(alone, registry=discover())
    plan = plan_of(tmp_path, f"steps:\n  - {entry}\n{rest}")

    assert [(each.code, each.line) for each in found] == [("RB315", 3)]
    assert [step.id for step in plan.steps] == ["z"]


def test_what_stands_in_a_loop_over_nothing_is_checked_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "deploy.yaml"
    body = "[{id: '${{ 1 }}', uses: wait, with: {for: 1s}}]"
    path.write_text(
        f"{HEAD}steps:\n  - for_each: {{in: [], as: n, max_parallel: many, steps: {body}}}\n"
        "  - {id: z, uses: set, with: {value: 1}}\n"
    )

    found = validate(path, registry=discover())

    assert sorted(each.code for each in found) == ["RB204", "RB206"]


def test_an_environment_lengthens_a_loop_and_changes_all_of_its_steps(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "prod.yaml").write_text(
        "name: prod\nvars: {names: [a, b]}\n"
        "overrides: {deploy: {say: {with: {value: '${{ name }}!'}}}}\n"
    )
    body = "[{id: say, uses: set, with: {value: '${{ name }}'}}]"
    text = (
        f"vars: {{names: [a]}}\n"
        f"steps:\n  - for_each: {{in: '${{{{ vars.names }}}}', as: name, steps: {body}}}\n"
    )

    plan = plan_of(tmp_path, text, environment="prod")

    assert {step.id: step.params["value"] for step in plan.steps} == {"say_a": "a!", "say_b": "b!"}


def test_a_rollback_undoes_every_pass_of_a_loop_by_the_id_that_was_written(tmp_path: Path) -> None:
    (tmp_path / "rollback.yaml").write_text(
        "runbook: v1\nname: rollback\nfor: deploy.yaml\nsteps:\n"
        "  - {id: stop, uses: wait, with: {for: 1s}, undoes: [say]}\n"
        "  - for_each: {in: [a, b], as: name, steps: "
        "[{id: back, uses: wait, with: {for: 1s}, undoes: ['say_${{ name }}']}]}\n"
    )
    body = "[{id: say, uses: command, with: {argv: [echo, '${{ name }}']}}]"
    text = (
        f"steps:\n  - {{id: look, uses: wait, with: {{for: 1s}}}}\n"
        f"  - for_each: {{in: [a, b], as: name, steps: {body}}}\n"
        "on_failure: {runbook: rollback.yaml}\n"
    )

    plan = plan_of(tmp_path, text)

    assert plan.on_failure is not None
    undoes = {step.id: step.undoes for step in plan.on_failure.plan.steps}
    assert undoes == {"stop": ("say_a", "say_b"), "back_a": ("say_a",), "back_b": ("say_b",)}


def test_a_runaway_loop_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deploy.yaml"
    path.write_text(
        HEAD + "steps:\n  - for_each: {in: " + str(list(range(501))) + ", as: n, steps: "
        "[{id: a, uses: set, with: {value: 1}}]}\n"
    )

    (found,) = validate(path, registry=discover())

    assert (found.code, "500 steps" in found.message) == ("RB315", True)


scalars = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
json_values = st.recursive(
    scalars.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_an_item_stands_in_an_expression_as_itself(value: object) -> None:
    text = literal(value)  # type: ignore[arg-type]

    assert environment().compile_expression(text)() == value
    assert "".join(word for _kind, word in _tokens(text)).strip() == text.strip()
