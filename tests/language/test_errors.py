"""Every file in `errors/` has the findings that stand beside it; `--update` rewrites them."""

import re
from pathlib import Path

import pytest

from runbook.language.checking import validate
from runbook.language.diagnostics import render_all
from runbook.language.findings import FINDINGS
from runbook.registry import Registry

FOLDER = Path(__file__).parent / "errors"
CASES = sorted(
    str(path.relative_to(FOLDER).with_suffix(""))
    for path in [*FOLDER.glob("*.yaml"), *FOLDER.glob("*/*.yaml")]
    if path.stem != "project" and path.stem[0] != "_"
)


@pytest.mark.parametrize("case", CASES)
def test_a_bad_runbook_is_answered_as_recorded(
    case: str, registry: Registry, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    golden = FOLDER / f"{case}.out"

    shown = render_all(validate(Path(f"{case}.yaml"), registry=registry))

    if pytestconfig.getoption("--update", default=False):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def test_every_finding_that_is_recorded_is_explained() -> None:
    recorded = "".join(path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.out"))

    codes = set(re.findall(r"\[(RB\d+)\]", recorded))

    assert codes <= set(FINDINGS)


def test_every_explained_finding_has_a_case() -> None:
    recorded = "".join(path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.out"))

    missing = set(FINDINGS) - set(re.findall(r"\[(RB\d+)\]", recorded))

    assert missing <= {"RB100", "RB108"}
