"""What an HTTP answer is expected to be, and how what came back differs.

Shared by `http_check`, `monitor` and `preflight`. Judging is pure; asking is `tools/http.py`'s.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from runbook.field_rules import exactly_one, rule, rules
from runbook.resources import MODEL_CONFIG, PositiveDuration, PossiblySecret, Whole
from runbook.tools.http import Answer, NoAnswer, Request, ask

_EXCERPT_CHARACTERS = 120


class HttpExpectation(BaseModel):
    """A request, and what its answer must be: everything given must hold."""

    model_config = MODEL_CONFIG | rules(
        exactly_one("get", "url"),
        rule(
            "`get` goes with `method: GET` only; write `url`",
            {
                "not": {
                    "required": ["get", "method"],
                    "properties": {"method": {"enum": ["HEAD", "OPTIONS", "POST"]}},
                }
            },
        ),
    )

    get: str | None = None
    """URL to GET. Either this or `url`."""
    url: str | None = None
    """URL to ask by `method`."""
    method: Literal["GET", "HEAD", "OPTIONS", "POST"] = "GET"
    """How `url` is asked."""
    headers: dict[str, PossiblySecret] = Field(default_factory=dict)
    """Headers to send."""
    timeout: PositiveDuration = 5.0
    """How long the whole answer may take."""
    status: Whole | list[Whole] = 200
    """The status, or those that will do."""
    json_: JsonValue = Field(default=None, alias="json")
    """What the body must hold as JSON: each key given, with that value; it may have others."""
    contains: str | None = None
    """Text that the body must hold."""

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.get is None) == (self.url is None):
            raise ValueError("expected either `get` or `url`")
        if self.get is not None and self.method != "GET":
            raise ValueError(f"`get` does not go with `method: {self.method}`; write `url`")
        return self

    @property
    def address(self) -> str:
        """The URL that is asked."""
        return self.get or self.url or ""

    @property
    def expected(self) -> str:
        """What must come back, in words."""
        allowed = [self.status] if isinstance(self.status, int) else self.status
        parts = [f"status {' or '.join(map(str, allowed))}"]
        if self.json_ is not None:
            parts.append(f"json {_short(self.json_)}")
        if self.contains is not None:
            parts.append(f"`{self.contains}`")
        return ", ".join(parts)

    @property
    def key(self) -> str:
        """The same for the same question with the same expectation, whichever step asks it."""
        return f"{self.method} {self.address}: {self.expected}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one question ended."""

    found: str
    """What came back, in words."""
    flaw: str | None
    """How that differs from what is expected; absent: it does not."""
    is_unknown: bool
    """We could not ask."""
    seconds: float


def look(expectation: HttpExpectation) -> Finding:
    """Ask once, and judge the answer."""
    reply = ask(
        Request(
            url=expectation.address,
            method=expectation.method,
            headers=expectation.headers,
            timeout_s=expectation.timeout,
        )
    )
    return judge(expectation, reply)


def judge(expectation: HttpExpectation, reply: Answer | NoAnswer) -> Finding:
    """What an answer, or none, means for an expectation."""
    match reply:
        case NoAnswer():
            return Finding(
                found=reply.reason,
                flaw=reply.reason,
                is_unknown=reply.is_ours,
                seconds=reply.seconds,
            )
        case Answer():
            flaw = _flaw(expectation, reply)
            found = flaw or f"status {reply.status}"
            return Finding(found=found, flaw=flaw, is_unknown=False, seconds=reply.seconds)


def failing(expectations: list[HttpExpectation]) -> Mapping[str, str]:
    """Which of these fail right now, by key, and how; what we could not ask is left out."""
    found = {expectation.key: look(expectation) for expectation in expectations}
    return {
        key: finding.flaw
        for key, finding in found.items()
        if finding.flaw is not None and not finding.is_unknown
    }


def _flaw(expectation: HttpExpectation, answer: Answer) -> str | None:
    wanted = expectation.status
    allowed = [wanted] if isinstance(wanted, int) else wanted
    if answer.status not in allowed:
        return f"status {answer.status}"
    if expectation.contains is not None and expectation.contains not in answer.text:
        return f"status {answer.status} without `{expectation.contains}`"
    if expectation.json_ is None:
        return None
    try:
        body = answer.json()
    except ValueError:
        return f"status {answer.status}, and the body is not JSON"
    return _missing(expectation.json_, body, "")


def _missing(wanted: JsonValue, found: JsonValue, at: str) -> str | None:
    """The first place where what was found does not hold what is wanted."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key not in found:
                return f"json without `{_join(at, key)}`"
            if flaw := _missing(value, found[key], _join(at, key)):
                return flaw
        return None
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        flaws = (_missing(value, found[i], f"{at}[{i}]") for i, value in enumerate(wanted))
        return next((flaw for flaw in flaws if flaw), None)
    # Python holds True equal to 1; JSON does not.
    if wanted == found and isinstance(wanted, bool) == isinstance(found, bool):
        return None
    return f"json `{at or '.'}` is {_short(found)}, not {_short(wanted)}"


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _short(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _EXCERPT_CHARACTERS else f"{text[:_EXCERPT_CHARACTERS]}…"
