"""Wire forms: what goes comes back, what was ever written stays readable, no secret passes."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbook.codec import (
    EVENT_KINDS,
    EVENT_VERSIONS,
    decode_event,
    encode_event,
)
from runbook.core.events import Event, Machine, PlanAmended, RunStarted, StepStarted, StepSucceeded
from runbook.core.plan import Plan
from runbook.errors import Bug, JournalUnreadable
from runbook.secret import Secret

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 11, 23, 4, 40, 3, 5, tzinfo=UTC)
STARTED = StepStarted(at=AT, step="dump", attempt=2)


def succeeded(outputs: Any) -> StepSucceeded:
    return StepSucceeded(at=AT, step="s", attempt=1, outputs=outputs, changed=True)


def changed(event: Event, change: Callable[[dict[str, Any]], object]) -> str:
    wire: dict[str, Any] = json.loads(encode_event(event))
    change(wire)
    return json.dumps(wire)


# --- there and back -------------------------------------------------------------------------


def test_an_event_comes_back_as_it_went(example: Event) -> None:
    assert decode_event(encode_event(example)) == example


def test_todays_wire_form_is_the_golden_one(example: Event, pytestconfig: pytest.Config) -> None:
    kind = type(example).__name__
    golden = GOLDEN / f"{kind}.v{EVENT_VERSIONS[kind]}.json"
    if pytestconfig.getoption("--update", default=False):
        golden.write_text(json.dumps(json.loads(encode_event(example)), indent=2) + "\n")

    wire = json.loads(encode_event(example))

    assert wire == json.loads(golden.read_text())


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_ever_written_is_readable(golden: Path) -> None:
    event = decode_event(golden.read_text())

    assert golden.stem.startswith(f"{type(event).__name__}.v")


def test_every_version_of_every_kind_has_a_golden_file() -> None:
    expected = {
        f"{kind}.v{version}"
        for kind, newest in EVENT_VERSIONS.items()
        for version in range(1, newest + 1)
    }

    assert {path.stem for path in GOLDEN.glob("*.json")} == expected
    assert set(EVENT_VERSIONS) == set(EVENT_KINDS)


def test_the_wire_form_is_canonical() -> None:
    text = encode_event(STARTED)

    assert text == (
        '{"at":"2026-11-23T04:40:03.000005Z","attempt":2,"kind":"StepStarted","step":"dump","v":1}'
    )


def test_times_are_recorded_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))

    text = encode_event(replace(STARTED, at=datetime(2026, 1, 1, 12, tzinfo=berlin)))

    assert '"2026-01-01T11:00:00.000000Z"' in text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    at=st.datetimes(timezones=st.just(UTC)),
    step=st.text(),
    attempt=st.integers(),
    outputs=st.dictionaries(st.text(), JSON),
    is_changed=st.booleans(),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_event_comes_back_as_it_went(
    at: datetime, step: str, attempt: int, outputs: dict[str, Any], is_changed: bool
) -> None:
    event = StepSucceeded(at=at, step=step, attempt=attempt, outputs=outputs, changed=is_changed)

    assert decode_event(encode_event(event)) == event


def test_text_that_is_not_utf_8_survives() -> None:
    event = succeeded({"name": b"caf\xe9".decode("utf-8", "surrogateescape")})

    text = encode_event(event)

    assert decode_event(text.encode().decode()) == event


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "place"),
    [
        ({"token": Secret("hunter22")}, r"outputs\.token"),
        ({"list": [1, {"deep": Secret("hunter22")}]}, r"outputs\.list\[1\]\.deep"),
        ({Secret("hunter22"): 1}, "outputs"),
        (Secret("hunter22"), "outputs"),
    ],
)
def test_a_secret_is_refused_wherever_it_stands(outputs: Any, place: str) -> None:
    with pytest.raises(Bug, match=f"a secret was about to be recorded at `StepSucceeded.{place}`"):
        encode_event(succeeded(outputs))


def test_a_secret_in_a_plan_is_refused(full_plan: Plan) -> None:
    secret: Any = Secret("hunter22")
    plan = replace(full_plan, summary=secret)

    with pytest.raises(Bug, match=r"plan\.summary"):
        encode_event(PlanAmended(at=AT, by="anna", plan=plan))


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), Path("/x"), (1, 2), AT, b"bytes", {1: "one"}]
)
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(Bug, match=r"outputs\.value"):
        encode_event(succeeded({"value": value}))


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(Bug, match=r"StepStarted\.at"):
        encode_event(replace(STARTED, at=datetime(2026, 1, 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda wire: wire.update(kind="StepMoved"), "no event of the kind `StepMoved`"),
        (lambda wire: wire.update(kind=["x"]), "no event of the kind"),
        (lambda wire: wire.update(v=2), "version `2`; this program reads 1 to 1"),
        (lambda wire: wire.pop("v"), "version `None`"),
        (lambda wire: wire.update(mood="good"), "no field `StepStarted.mood`"),
        (lambda wire: wire.pop("step"), "field `StepStarted.step` is missing"),
        (lambda wire: wire.update(attempt="two"), "`StepStarted.attempt` should be int"),
        (lambda wire: wire.update(attempt=True), "`StepStarted.attempt` should be int"),
        (lambda wire: wire.update(at="yesterday"), "`StepStarted.at` should be a time"),
    ],
)
def test_what_this_program_does_not_know_is_unreadable_and_named(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    text = changed(STARTED, change)

    with pytest.raises(JournalUnreadable, match=message):
        decode_event(text)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": NaN}'])
def test_what_is_no_record_is_unreadable(text: str) -> None:
    with pytest.raises(JournalUnreadable):
        decode_event(text)


def test_a_word_that_is_not_known_is_named(full_plan: Plan) -> None:
    machine = Machine(host="h", boot_id="b")
    event = RunStarted(at=AT, run_id="r", plan=full_plan, by="anna", machine=machine)
    text = changed(event, lambda wire: wire.update(trigger="cron"))

    with pytest.raises(JournalUnreadable, match="none of operator, failure, but `cron`"):
        decode_event(text)


def test_a_field_that_was_added_later_gets_its_default() -> None:
    text = changed(succeeded({}), lambda wire: wire.update(kind="DoubtSettled", verdict="done"))
    wire = json.loads(text) | {"by": "probe", "reason": "r"}

    event = decode_event(json.dumps({k: v for k, v in wire.items() if k != "changed"}))

    assert getattr(event, "changed", None) is True
    assert getattr(event, "failure", "?") is None
