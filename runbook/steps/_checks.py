"""How the checks of a check step ended, whatever it is that they ask."""

from collections.abc import Sequence

from pydantic import BaseModel

from runbook.errors import CheckFailed
from runbook.resources import MODEL_CONFIG

_SHOWN = 10


class CheckResult(BaseModel):
    """How one check ended."""

    model_config = MODEL_CONFIG

    name: str
    """What it is called."""
    ok: bool
    """Whether everything was as expected."""
    expected: str
    """What should have come back."""
    found: str
    """What came back."""
    required: bool
    """Whether its failure counts."""
    was_broken: bool
    """Whether it failed in the same way before the run changed anything: then it does not count."""
    seconds: float
    """How long the answer took."""


def line(result: CheckResult) -> str:
    """How it ended, for people."""
    if result.ok:
        return f"ok      {result.name}: {result.found}"
    notes = []
    if result.was_broken:
        notes.append("as before this run: not counted")
    if not result.required:
        notes.append("not required")
    note = f" ({', '.join(notes)})" if notes else ""
    return f"failed  {result.name}: expected {result.expected}, found {result.found}{note}"


def require(results: Sequence[CheckResult]) -> None:
    """Raises CheckFailed where one failed that counts."""
    failed = [each for each in results if not each.ok and each.required and not each.was_broken]
    if failed:
        worst = "; ".join(f"{r.name}: expected {r.expected}, found {r.found}" for r in failed)
        raise CheckFailed(
            f"{len(failed)} of {len(results)} checks failed: {worst}",
            where=failed[0].name,
            changed=False,
            output_tail=tuple(line(result) for result in results[-_SHOWN:]),
        )
