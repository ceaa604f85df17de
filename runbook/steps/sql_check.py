"""Check by SQL that a database holds what it should."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from shlex import quote
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError, StepStopped, TimedOut
from runbook.field_rules import rule, rules
from runbook.kinds import Context, Outputs, Resource, Spec, StepKind
from runbook.resources import MODEL_CONFIG, Database, Natural, PositiveDuration
from runbook.restore.databases import Row, way_of
from runbook.steps._checks import CheckResult, line, require

_SHOWN_CHARACTERS = 120


class SqlCheckItem(BaseModel):
    """A query, and what its answer must be: everything given must hold."""

    model_config = MODEL_CONFIG | rules(
        rule(
            "`rows` does not go with `at_least`",
            {"not": {"required": ["rows", "at_least"]}},
        ),
    )

    query: str = Field(min_length=1)
    """One statement; it runs where it can change nothing."""
    equals: str | int | float | bool | None = None
    """The first value of the first row; absent: any."""
    rows: Natural | None = None
    """How many rows must come back."""
    at_least: Natural | None = None
    """How many rows must come back at least."""
    name: str = ""
    """What people call it; empty: its query."""
    required: bool = True
    """Whether its failure fails the step."""

    @model_validator(mode="after")
    def _counts_rows_once(self) -> Self:
        if self.rows is not None and self.at_least is not None:
            raise ValueError("`rows` does not go with `at_least`")
        return self

    @property
    def title(self) -> str:
        """What it is called in a report."""
        return self.name or _short(" ".join(self.query.split()))

    @property
    def expected(self) -> str:
        """What must come back, in words."""
        parts = []
        if self.equals is not None:
            parts.append(_shown(self.equals))
        if self.rows is not None:
            parts.append(_counted(self.rows))
        if self.at_least is not None:
            parts.append(f"{_counted(self.at_least)} or more")
        return ", ".join(parts) or "an answer"

    @property
    def rows_needed(self) -> int:
        """How many rows tell whether it holds."""
        return max(1, self.at_least or 0, (self.rows or 0) + 1)


class SqlCheck(Spec):
    """Check by SQL that a database holds what it should.

    All checks run, and all are reported. What had the same wrong answer before the run changed
    anything is shown and not counted. Queries run in transactions that can change nothing.

    Example:
        id: data
        uses: sql_check
        with:
          database: db
          checks:
            - {query: "SELECT count(*) FROM orders WHERE total < 0", equals: 0}
            - {query: "SELECT 1 FROM products", at_least: 1, required: false}
    """

    database: Resource[Database]
    """The database to ask."""
    checks: list[SqlCheckItem] = Field(min_length=1)
    """What is asked and what must come back."""
    timeout: PositiveDuration = 10.0
    """How long each answer may take."""


class SqlChecked(Outputs):
    """How the checks ended."""

    results: list[CheckResult]
    """Each check, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    found: str
    flaw: str | None
    """How it differs from what is expected; absent: it does not."""
    was_answered: bool = True


def _run(spec: SqlCheck, ctx: Context) -> SqlChecked:
    results: list[CheckResult] = []
    for item in spec.checks:
        ctx.check()
        ctx.show(item.title)
        began = time.monotonic()
        finding = _look(spec, item, ctx)
        results.append(
            CheckResult(
                name=item.title,
                ok=finding.flaw is None,
                expected=item.expected,
                found=finding.found,
                required=item.required,
                was_broken=finding.flaw is not None
                and ctx.baseline.get(_key(spec, item)) == finding.flaw,
                seconds=round(time.monotonic() - began, 3),
            )
        )
        ctx.log(line(results[-1]))
    require(results)
    return SqlChecked(results=results)


def _look(spec: SqlCheck, item: SqlCheckItem, ctx: Context) -> _Finding:
    """Ask once, and judge the answer."""
    timeout_s = min(spec.timeout, ctx.remaining_s())
    try:
        rows = way_of(spec.database).query(
            item.query, ctx, timeout_s=timeout_s, at_most=item.rows_needed
        )
    except (StepStopped, TimedOut):
        raise
    except StepError as error:
        return _Finding(found=error.message, flaw=error.message, was_answered=False)
    flaw = _flaw(item, rows)
    return _Finding(found=flaw or _told(item, rows), flaw=flaw)


def _flaw(item: SqlCheckItem, rows: Sequence[Row]) -> str | None:
    if item.equals is not None:
        if not rows:
            return "no row"
        if not _is_same(item.equals, rows[0][0] if rows[0] else None):
            return _shown(rows[0][0])
    if item.rows is not None and len(rows) != item.rows:
        return _counted(len(rows)) + (" or more" if len(rows) > item.rows else "")
    if item.at_least is not None and len(rows) < item.at_least:
        return _counted(len(rows))
    return None


def _told(item: SqlCheckItem, rows: Sequence[Row]) -> str:
    if item.equals is not None:
        return _shown(rows[0][0])
    if item.rows is not None:
        return _counted(len(rows))
    return f"{_counted(len(rows))} or more" if rows else "no row"


def _is_same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        # SQLite has no truth values of its own.
        return wanted == found and isinstance(wanted, bool)
    if isinstance(wanted, int | float):
        try:
            return not isinstance(found, bytes) and Decimal(str(found)) == Decimal(str(wanted))
        except InvalidOperation:
            return False
    return found is not None and str(found) == wanted


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool | int | float | str):
        return _short(json.dumps(value, ensure_ascii=False))
    return _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _counted(rows: int) -> str:
    return "no row" if rows == 0 else "1 row" if rows == 1 else f"{rows} rows"


def _key(spec: SqlCheck, item: SqlCheckItem) -> str:
    """The same for the same question with the same expectation, whichever step asks it."""
    return f"{spec.database.name}: {item.query}: {item.expected}"


def _baseline(spec: SqlCheck, ctx: Context) -> Mapping[str, str]:
    """What has no answer is left out: it may ask for what only the run will bring."""
    found = {_key(spec, item): _look(spec, item, ctx) for item in spec.checks}
    return {
        key: finding.flaw
        for key, finding in found.items()
        if finding.flaw is not None and finding.was_answered
    }


def _describe(spec: SqlCheck) -> str:
    if len(spec.checks) == 1:
        return f"check in database `{spec.database.name}`: {spec.checks[0].title}"
    return f"check {len(spec.checks)} answers of database `{spec.database.name}`"


def _by_hand(spec: SqlCheck) -> Sequence[str]:
    ask = way_of(spec.database).query_by_hand()
    return [f"{ask} {quote(item.query)}  # expected: {item.expected}" for item in spec.checks]


STEP = StepKind(
    spec=SqlCheck,
    outputs=SqlChecked,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    by_hand=_by_hand,
    baseline=_baseline,
)
