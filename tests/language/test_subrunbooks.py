"""A runbook that is used as a step is the same as its steps written out in that place."""

from pathlib import Path
from typing import Any

import pytest

from runbook.core.plan import Plan
from runbook.language.checking import validate
from runbook.language.compile import changed_sources, compile_runbook
from runbook.registry import discover

PROJECT = """\
project: shop
vars: {place: "backups/${{ env.name }}"}
resources: {db: {sqlite: {path: shop.db}}, stock: {sqlite: {path: stock.db}}}
"""
BACKUP = """\
runbook: v1
name: backup
inputs:
  label: {type: string}
  keep: {type: duration, default: 10m}
  loud: {type: boolean, default: false}
  note: {type: string, required: false}
vars: {target: "${{ inputs.label }}.bak"}
secrets: {key: {env: BACKUP_KEY}}
steps:
  - parallel:
      - {id: dump, uses: backup_db, with: {database: db}}
      - for_each:
          in: [x, y]
          as: each
          steps: [{id: say, uses: set, with: {value: "${{ each }} ${{ vars.target }}"}}]
  - id: copy
    uses: command
    with: {argv: [cp, "${{ steps.dump.outputs.path }}", "${{ vars.target }}"],
           environment: {KEY: "${{ secrets.key }}", PLACE: "${{ vars.place }}"}}
    when: inputs.loud or steps.dump.changed
  - {id: settle, uses: wait, with: {for: "${{ inputs.keep }}"}, when: inputs.note is none}
outputs:
  path: ${{ vars.target }}
  size: ${{ steps.dump.outputs.size_bytes }}
"""
USING = """\
inputs: {tag: {type: string, default: v1}}
steps:
  - {id: look, uses: set, with: {value: true}}
  - id: backup
    uses: runbook
    with:
      runbook: backup.yaml
      inputs: {label: "at ${{ inputs.tag }}-${{ run.id }}", loud: "${{ steps.look.outputs.value }}"}
    when: steps.look.changed or true
    guidance: call ann
  - id: use
    uses: set
    with: {value: ["${{ steps.backup.outputs.path }}", "${{ steps.backup.outputs.size }}"]}
    when: (steps.look.changed or true) and steps.backup.changed
"""
LABEL = "('at ' | string) ~ ((inputs.tag) | string) ~ ('-' | string) ~ ((run.id) | string)"


def plan_of(folder: Path, text: str, **options: Any) -> Plan:
    (folder / "project.yaml").write_text(PROJECT)
    (folder / "backup.yaml").write_text(BACKUP)
    path = folder / "deploy.yaml"
    path.write_text(f"runbook: v1\nname: deploy\n{text}")
    return compile_runbook(path, registry=discover(), read=lambda _declared: {}, **options)


def test_its_steps_stand_where_it_is_used(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, USING)

    assert {step.id: step.needs for step in plan.steps} == {
        "look": (),
        "backup_dump": ("look",),
        "backup_say_x": ("look",),
        "backup_say_y": ("backup_say_x",),
        "backup_copy": ("backup_dump", "backup_say_y"),
        "backup_settle": ("backup_copy",),
        "use": ("backup_settle",),
    }
    assert {step.guidance for step in plan.steps[1:-1]} == {"call ann"}
    assert all("backup.yaml:" in step.place for step in plan.steps[1:-1])
    assert plan.secrets["key"].reference == "BACKUP_KEY"


def test_what_it_is_given_stands_for_its_inputs_and_variables(tmp_path: Path) -> None:
    steps = {step.id: step for step in plan_of(tmp_path, USING).steps}

    target = f"((({LABEL})) | string) ~ ('.bak' | string)"
    assert steps["backup_say_x"].params == {"value": f"x ${{{{ ({target}) }}}}"}
    copy = steps["backup_copy"]
    assert copy.params["argv"] == [
        "cp", "${{ steps.backup_dump.outputs.path }}", f"${{{{ ({target}) }}}}",
    ]  # fmt: skip
    assert copy.when == (
        "(steps.look.changed or true) and ((steps.look.outputs.value) or steps.backup_dump.changed)"
    )
    assert steps["backup_settle"].params == {"for": 600.0}
    assert steps["backup_settle"].when == "(steps.look.changed or true) and (true)"


def test_its_outputs_stand_for_those_of_the_step(tmp_path: Path) -> None:
    use = plan_of(tmp_path, USING).steps[-1]

    value = use.params["value"]
    assert isinstance(value, list)
    assert value[1] == "${{ ((steps.backup_dump.outputs.size_bytes)) }}"
    assert "backup_copy.changed or steps.backup_settle.changed" in (use.when or "")


def test_it_may_stand_in_a_loop_and_use_others_itself(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "runbook: v1\nname: all\ninputs: {who: {type: string}}\nsteps:\n"
        "  - {id: inner, uses: runbook, with: {runbook: backup.yaml, "
        "inputs: {label: '${{ inputs.who }}'}}}\n"
        "outputs: {path: '${{ steps.inner.outputs.path }}'}\n"
    )
    text = """\
steps:
  - for_each:
      in: [ann, bob]
      as: name
      steps:
        - {id: outer, uses: runbook, with: {runbook: all.yaml, inputs: {who: "${{ name }}"}}}
        - {id: use, uses: set, with: {value: "${{ steps.outer.outputs.path }}"}}
"""
    plan = plan_of(tmp_path, text)

    steps = {step.id: step for step in plan.steps}
    assert "outer_ann_inner_say_x" in steps
    assert steps["outer_bob_inner_say_y"].params == {"value": "y bob.bak"}
    assert steps["use_ann"].params == {"value": "ann.bak"}
    assert len(steps) == 2 * 6


def test_a_change_of_it_is_a_change_of_the_runbook_that_uses_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, USING)
    (tmp_path / "backup.yaml").write_text(BACKUP + "\n")

    assert [Path(each).name for each in changed_sources(plan)] == ["backup.yaml"]


def test_a_rollback_undoes_all_of_it_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "rollback.yaml").write_text(
        "runbook: v1\nname: rollback\nfor: deploy.yaml\nsteps:\n"
        "  - {id: back, uses: wait, with: {for: 1s}, undoes: [backup]}\n"
    )

    plan = plan_of(tmp_path, USING + "on_failure: {runbook: rollback.yaml, after: look}\n")

    assert plan.on_failure is not None
    assert plan.on_failure.plan.steps[0].undoes == (
        "backup_dump", "backup_say_x", "backup_say_y", "backup_copy", "backup_settle",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("secret", "codes"),
    [
        ("argv: [call, '${{ inputs.key }}']", ["RB403"]),
        ("environment: {K: '${{ inputs.key }}'}", []),
    ],
)
def test_a_secret_that_is_given_stays_one(tmp_path: Path, secret: str, codes: list[str]) -> None:
    argv = "" if secret.startswith("argv") else ", argv: [call]"
    (tmp_path / "call.yaml").write_text(
        "runbook: v1\nname: call\ninputs: {key: {type: string}}\nsteps:\n"
        f"  - {{id: call, uses: command, with: {{{secret}{argv}}}}}\n"
    )
    (tmp_path / "deploy.yaml").write_text(
        "runbook: v1\nname: deploy\nsecrets: {key: {env: KEY}}\nsteps:\n"
        "  - {id: out, uses: runbook, with: {runbook: call.yaml, "
        "inputs: {key: '${{ secrets.key }}'}}}\n"
    )

    found = validate(tmp_path / "deploy.yaml", registry=discover())

    assert [each.code for each in found] == codes
