"""A runbook's files to a plan."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runbook.core.plan import Effect, JsonObject, Plan, PlannedSecret, Rerun, Retry
from runbook.errors import InputError
from runbook.language.compile import compile_runbook
from runbook.language.diagnostics import InvalidRunbook
from runbook.language.inputs import check_inputs, read_inputs
from runbook.registry import discover
from runbook.secret import Secret

Compile = Callable[..., Plan]
HEAD = "runbook: v1\nname: deploy\n"
LOOK = "  - {id: look, uses: http_check, with: {checks: [{get: 'http://x/'}]}}\n"
ROLLBACK = """
runbook: v1
name: rollback
for: deploy.yaml
inputs: {data: {type: choice, choices: [restore, keep]}, sure: {type: boolean, default: false}}
vars: {what: "${{ inputs.data }}"}
steps:
  - {id: point, uses: load_restore_point}
  - {id: tell, uses: restore_db, with: {database: db}, when: vars.what == 'restore',
     undoes: [change]}
  - {id: go, uses: confirm, with: {given: "${{ inputs.sure }}"}}
"""
DEPLOY = (
    HEAD
    + "steps:\n"
    + LOOK
    + """  - {id: change, uses: command, with: {argv: [./change]}}
on_failure:
  runbook: rollback.yaml
  with: {data: "${{ 'restore' if steps.change.changed else 'keep' }}"}
finally:
  - {id: tell, uses: confirm}
  - {id: last, uses: confirm, when: steps.tell.started}
"""
)


def needs(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {step.id: step.needs for step in plan.steps}


def test_a_step_needs_the_one_before_and_a_group_all_its_ends(compile_text: Compile) -> None:
    plan = compile_text(
        HEAD
        + """steps:
  - {id: a, uses: confirm}
  - parallel:
      - {id: b, uses: confirm}
      - steps:
          - {id: c, uses: confirm}
          - parallel:
              - {id: d, uses: confirm}
              - steps: [{id: e, uses: confirm}, {id: f, uses: confirm}]
          - {id: g, uses: confirm}
      - parallel: [{id: h, uses: confirm}, {id: i, uses: confirm}]
  - {id: j, uses: confirm}
finally:
  - {id: k, uses: confirm}
  - {id: l, uses: confirm}
"""
    )

    assert needs(plan) == {
        "a": (),
        "b": ("a",),
        "c": ("a",),
        "d": ("c",),
        "e": ("c",),
        "f": ("e",),
        "g": ("d", "f"),
        "h": ("a",),
        "i": ("a",),
        "j": ("b", "g", "h", "i"),
        "k": (),
        "l": ("k",),
    }
    assert [step.id for step in plan.steps if step.is_finally] == ["k", "l"]


def test_a_step_is_filled_in_from_its_kind(compile_text: Compile) -> None:
    plan = compile_text(
        HEAD
        + """steps:
  - {id: dump, uses: backup_db, with: {database: db}}
  - {id: a, uses: command, with: {argv: [x], effect: reads}, when: true}
  - {id: b, uses: command, with: {argv: [x], creates: done}}
  - {id: c, uses: command, with: {argv: [x]}, rerun: safe, timeout: 2m}
  - {id: d, uses: process_up, with: {process: web}, guidance: call Anna,
     retry: {attempts: 3, delay: 500ms, max_delay: 1m, factor: 1.5, jitter: 0.5},
     on_error: {continue: it is not critical}}
  - {id: e, uses: restore_db, with: {database: db}}
"""
    )

    by_id = {step.id: step for step in plan.steps}
    assert (by_id["a"].effect, by_id["a"].rerun, by_id["a"].when) == (
        Effect.READS,
        Rerun.ASK,
        "true",
    )
    assert (by_id["b"].effect, by_id["b"].rerun) == (Effect.CHANGES, Rerun.PROBE)
    assert (by_id["c"].rerun, by_id["c"].timeout_s) == (Rerun.SAFE, 120.0)
    assert (by_id["d"].holds, by_id["d"].guidance) == ("web", "call Anna")
    assert by_id["d"].retry == Retry(
        attempts=3, delay_s=0.5, factor=1.5, max_delay_s=60, jitter=0.5
    )
    assert by_id["d"].continue_reason == "it is not critical"
    assert by_id["e"].effect is Effect.DESTROYS
    assert by_id["e"].place.endswith("deploy.yaml:11")


INPUTS = HEAD + (
    """inputs:
  a: {type: string, default: low, env: VAR_A}
  d: {type: duration, default: 10m, env: VAR_D}
  f: {type: fraction, default: 0.10, env: VAR_F}
  b: {type: bytes, default: 512MiB}
  y: {type: boolean, default: false, env: VAR_Y}
  n: {type: integer, default: 3}
vars: {text: "${{ inputs.a }}-${{ env.name }}", number: "${{ inputs.n + 1 }}"}
steps:
"""
    + LOOK
)


def test_inputs_are_typed_and_read_by_their_precedence(compile_text: Compile) -> None:
    plain = compile_text(INPUTS)
    from_variables = compile_text(
        INPUTS, environ={"VAR_A": "middle", "VAR_D": "600", "VAR_F": "5%", "VAR_Y": "yes"}
    )
    given = compile_text(
        INPUTS, given={"a": "high", "n": "7"}, environ={"VAR_A": "middle"}, environment="prod"
    )

    defaults = {"a": "low", "d": 600, "f": 0.1, "b": 512 * 1024**2, "y": False, "n": 3}
    assert plain.inputs == defaults
    assert from_variables.inputs == defaults | {"a": "middle", "f": 0.05, "y": True}
    assert given.inputs["a"] == "high"
    assert given.vars == {"text": "high-prod", "number": 8}


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"aa": "x"}, ["no input `aa`", "did you mean `a`"]),
        ({"n": "many"}, ["`n`", "`many`", "--set"]),
        ({"y": "maybe", "d": "soon"}, ["`y`", "`d`"]),
    ],
)
def test_what_does_not_fit_an_input_is_said_all_at_once(
    given: dict[str, str], parts: list[str], compile_text: Compile
) -> None:
    with pytest.raises(InputError) as raised:
        compile_text(INPUTS, given=given)

    assert all(part in raised.value.message for part in parts)


def test_missing_inputs_come_as_flags_to_paste_and_a_choice_as_all_of_its_own(
    compile_text: Compile,
) -> None:
    text = (
        HEAD + "inputs:\n  a: {type: string}\n  b: {type: boolean}\n"
        "  c: {type: choice, choices: [x, y], help: What.}\n  d: {type: integer}\nsteps:\n" + LOOK
    )

    with pytest.raises(InputError) as raised:
        compile_text(text)

    assert (raised.value.hint or "").splitlines() == [
        "add --set a=STRING --set d=INTEGER",
        "add --set b=yes or --set b=no",
        "add --set c=x or --set c=y: What.",
    ]


def test_a_sensitive_input_is_a_secret_and_never_given_by_a_flag(compile_text: Compile) -> None:
    text = HEAD + (
        "inputs: {pin: {type: string, sensitive: true, env: PIN}}\n"
        'vars: {url: "x${{ inputs.pin }}", other: plain}\n'
        "steps:\n  - {id: a, uses: command,\n"
        "     with: {argv: [x], environment: {P: '${{ vars.url }}'}}}\n"
    )

    plan = compile_text(text, environ={"PIN": "1234"})
    with pytest.raises(InputError) as raised:
        compile_text(text, given={"pin": "1234"})

    assert plan.inputs == {}
    assert plan.secrets["input:pin"] == PlannedSecret(provider="env", reference="PIN")
    assert plan.vars == {"url": "x${{ inputs.pin }}", "other": "plain"}
    assert "1234" not in raised.value.message


@pytest.mark.parametrize(
    ("declaration", "value", "expected"),
    [
        ("type: integer", "hunter2", "expected a whole number"),
        ("type: integer, maximum: 9", "1234567", "expected at most `9`"),
        ("type: choice, choices: [a, b]", "hunter2", "expected `a` or `b`"),
        ('type: string, pattern: "[a-z]+"', "hunter2", "expected text that matches `[a-z]+`"),
        ("type: url", "hunter2", "expected a URL such as https://example.org"),
    ],
)
def test_a_sensitive_input_is_checked_as_others_are_and_never_quoted(
    compile_text: Compile, declaration: str, value: str, expected: str
) -> None:
    text = HEAD + (
        f"inputs: {{pin: {{{declaration}, sensitive: true, env: PIN}}}}\n"
        "steps:\n  - {id: a, uses: command,\n"
        "     with: {argv: [x], environment: {P: '${{ inputs.pin }}'}}}\n"
    )

    with pytest.raises(InputError) as raised:
        compile_text(text, environ={"PIN": value})

    assert raised.value.message == f"input `pin` (PIN): {expected}, found another value"


def test_resources_and_secrets_keep_the_folder_that_names_them(compile_text: Compile) -> None:
    plan = compile_text(HEAD + "resources: {db: {sqlite: {path: own.db}}}\nsteps:\n" + LOOK)

    assert plan.project == plan.lock == "shop"
    assert plan.resources["db"].params == {"path": "own.db"}
    assert plan.resources["code"].base.endswith("/runbooks")
    assert plan.secrets["key"].reference.endswith("/runbooks/secrets/key")


def test_the_lock_is_the_project_with_its_environment(compile_text: Compile) -> None:
    text = HEAD + "steps:\n" + LOOK

    assert compile_text("lock: mine\n" + text).lock == "mine"
    assert compile_text(text).lock == "shop"
    assert compile_text(text, environment="prod").lock == "shop/prod"


def test_without_a_project_the_folder_is_the_project_or_the_one_above(
    compile_text: Compile, tmp_path: Path
) -> None:
    plan = compile_text(HEAD + "steps:\n" + LOOK, project=None)

    assert Path(plan.source).parent == tmp_path / "runbooks"
    assert plan.project == tmp_path.name


def test_scripts_are_pinned_and_files_of_variables_never(tmp_path: Path) -> None:
    for name in ("change.sh", ".env", ".env.local", "prod.env"):
        (tmp_path / name).write_text("hush")
    argv = "[sh, change.sh, .env, .env.local, prod.env]"
    runbook = tmp_path / "deploy.yaml"
    runbook.write_text(f"{HEAD}steps:\n  - {{id: a, uses: command, with: {{argv: {argv}}}}}\n")

    plan = compile_runbook(runbook, registry=discover(), read=lambda _declared: {})

    (step,) = plan.steps
    assert [Path(file).name for file in step.files] == ["change.sh"]


def test_the_way_back_is_pinned_with_the_finally_steps(compile_text: Compile) -> None:
    plan = compile_text(
        DEPLOY.replace(
            "  - {id: change",
            "  - {id: dump, uses: backup_db, with: {database: db}}\n  - {id: change",
        ),
        rollback=ROLLBACK,
    )

    way_back = plan.on_failure
    assert way_back is not None
    assert way_back.after == "dump"
    assert way_back.inputs == {"data": "${{ 'restore' if steps.change.changed else 'keep' }}"}
    assert way_back.plan.inputs == {"sure": False}
    assert way_back.plan.vars == {"what": "${{ inputs.data }}"}
    assert (way_back.plan.undoes, way_back.plan.lock) == ("deploy", "shop")
    assert [(s.id, s.needs, s.from_undone) for s in way_back.plan.steps] == [
        ("point", (), False),
        ("tell", ("point",), False),
        ("go", ("tell",), False),
        ("undone_tell", (), True),
        ("last", ("undone_tell",), True),
    ]


def test_the_digest_changes_with_every_file_that_is_compiled(compile_text: Compile) -> None:
    first = compile_text(DEPLOY, rollback=ROLLBACK)
    same = compile_text(DEPLOY, rollback=ROLLBACK)
    other = compile_text(DEPLOY, rollback=ROLLBACK + "# more\n")

    assert first.sources == same.sources
    changed = {path for path, digest in other.sources.items() if first.sources[path] != digest}
    assert {Path(path).name for path in changed} == {"rollback.yaml"}


def test_all_findings_come_at_once_in_order_of_place(compile_text: Compile) -> None:
    with pytest.raises(InvalidRunbook) as raised:
        compile_text(DEPLOY.replace("./change", "'${{ inputs.x }}'"), rollback="runbook: v2\n")

    found = raised.value.diagnostics
    places = [(item.file.rsplit("/", 1)[-1], item.line) for item in found]
    assert places == sorted(places)
    assert {file for file, _line in places} == {"deploy.yaml", "rollback.yaml"}
    assert len(found) > 3
    assert raised.value.exit_status == 2


def test_a_variable_that_cannot_be_computed_is_an_error_of_the_inputs(
    compile_text: Compile,
) -> None:
    text = HEAD + "inputs: {n: {type: integer}}\nvars: {v: '${{ 1 / inputs.n }}'}\nsteps:\n" + LOOK

    with pytest.raises(InputError) as raised:
        compile_text(text, given={"n": "0"})

    assert "variable `v`" in raised.value.message


def test_inputs_that_an_expression_gave_are_checked_and_filled_up() -> None:
    declarations: JsonObject = {
        "data": {"type": "choice", "choices": ["restore", "keep"]},
        "wait": {"type": "duration", "default": "10m"},
    }

    assert check_inputs(declarations, {"data": "keep"}) == {"data": "keep", "wait": 600}
    for wrong in ({}, {"data": "maybe"}, {"data": Secret("keep")}, {"data": "keep", "x": 1}):
        with pytest.raises(InputError):
            check_inputs(declarations, wrong)


def test_a_flag_that_is_proposed_can_be_pasted_into_a_shell() -> None:
    choice: JsonObject = {"mood": {"type": "choice", "choices": ["so so", "fine"]}}

    with pytest.raises(InputError) as raised:
        read_inputs(choice, {}, {})

    assert raised.value.hint == "add --set mood='so so' or --set mood=fine"
