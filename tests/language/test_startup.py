"""`validate` knows kinds by their facts: it loads neither them nor what they are made with."""

import subprocess
import sys
from pathlib import Path

import pytest

from runbook.registry import discover

QUICKSTART = Path(__file__).parents[2] / "runbooks" / "quickstart"
HEAVY = ("pydantic", "runbook.kinds", "runbook.app", "runbook.resources", "rich", "ssl", "socket")
PROGRAM = """
import sys
from runbook.__main__ import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
loaded = [name for name in sys.argv[-1].split(",") if name in sys.modules]
loaded += [name for name in sys.modules if name.startswith("runbook.steps.")]
print("loaded:", *loaded)
"""


@pytest.mark.parametrize("name", ["deploy", "rollback"])
def test_validating_the_quickstart_loads_no_kind(name: str) -> None:
    program = PROGRAM.replace("sys.argv[-1]", repr(",".join(HEAVY)))
    path = QUICKSTART / f"{name}.yaml"

    done = subprocess.run(
        [sys.executable, "-c", program, "validate", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].strip() == "loaded:"


def test_importing_the_command_loads_no_kind() -> None:
    program = (
        "import runbook.cli.validate, sys; print(*[m for m in sys.argv[1:] if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, *HEAVY, "jsonschema", "jinja2", "yaml"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == ""


def test_a_kind_that_has_not_been_generated_is_known_by_its_module() -> None:
    shipped = discover()
    fresh = type(shipped)(shipped.names, shipped.find)

    facts = {name: fresh.facts(name) for name in fresh.names}

    assert facts == {name: shipped.facts(name) for name in shipped.names}
