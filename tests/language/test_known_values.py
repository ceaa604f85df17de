"""What is computed from inputs alone is checked against its parameter before anything runs."""

from pathlib import Path

import pytest

from runbook.core.plan import JsonObject
from runbook.language.compile import compile_runbook
from runbook.language.diagnostics import InvalidRunbook
from runbook.language.inputs import declared_defaults
from runbook.registry import discover

SCALE = 'argv: [scale, "${{ steps.look.outputs.value }}", "${{ inputs.replicas }}"]'
KEEP = 'argv: [keep], environment: {KEEP: "${{ inputs.keep }}"}'


def misfits(folder: Path, step: str) -> list[tuple[str, str | None]]:
    file = folder / "deploy.yaml"
    file.write_text(
        "runbook: v1\nname: deploy\ninputs:\n"
        "  replicas: {type: integer, default: 3}\n"
        "  keep: {type: duration, default: 1h}\n"
        "  note: {type: string, required: false}\n"
        "steps:\n"
        "  - {id: look, uses: set, with: {value: a}}\n"
        f"  - {{id: act, uses: command, {step}}}\n"
    )
    try:
        compile_runbook(file, registry=discover(), read=declared_inputs)
    except InvalidRunbook as error:
        return [(found.message, found.hint) for found in error.diagnostics if found.is_error]
    return []


def declared_inputs(declarations: JsonObject) -> JsonObject:
    return {"note": None, **declared_defaults(declarations)}


@pytest.mark.parametrize("when", ["", ", when: steps.look.changed", ", when: inputs.replicas > 2"])
def test_what_does_not_fit_within_a_parameter_is_found(tmp_path: Path, when: str) -> None:
    found = [*misfits(tmp_path, f"with: {{{SCALE}}}{when}")]
    found += misfits(tmp_path, f"with: {{{KEEP}}}{when}")

    assert found == [
        (
            "`argv` of step `act`: expected a string",
            "write `${{ inputs.replicas | string }}`",
        ),
        (
            "`environment` of step `act`: expected a string",
            "write `${{ inputs.keep | string }}`",
        ),
    ]


@pytest.mark.parametrize(
    "step",
    [
        f"with: {{{SCALE}}}, when: inputs.replicas > 5",
        f"with: {{{SCALE}}}, when: inputs.replicas > 5 and steps.look.changed",
        'with: {argv: [say, "${{ inputs.note }}"]}, when: inputs.note is not none',
        'with: {argv: [scale, "${{ inputs.replicas | string }}", "${{ inputs.keep }}s"]}',
        'with: {argv: [say, "${{ steps.look.outputs.value }}"]}',
    ],
)
def test_what_fits_or_never_runs_is_let_pass(tmp_path: Path, step: str) -> None:
    assert misfits(tmp_path, step) == []
