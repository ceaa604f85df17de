"""http_check against a real server."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from runbook.errors import CheckFailed, ParametersInvalid
from runbook.secret import Secret
from runbook.steps.http_check import STEP, HttpCheck, HttpChecked


def check(url: str, **fields: Any) -> HttpCheck:
    return HttpCheck.model_validate({"checks": [{"get": url, **fields}]})


def run(spec: HttpCheck, context: Any) -> HttpChecked:
    outputs = STEP.run(spec, context)
    assert isinstance(outputs, HttpChecked)
    return outputs


@pytest.mark.parametrize(
    "expected",
    [
        {"status": 200},
        {"status": [200, 204]},
        {"json": {"status": "ok"}},
        {"json": {"parts": [{"name": "db"}]}},
        {"contains": "uptime"},
    ],
)
def test_an_answer_that_holds_what_is_expected_passes(
    web: Any, make_context: Any, expected: dict[str, Any]
) -> None:
    body = {"status": "ok", "uptime": 5, "parts": [{"name": "db", "ok": True}]}
    web.answers = [(200, json.dumps(body))]

    outputs = run(check(web.url, **expected), make_context())

    assert [result.ok for result in outputs.results] == [True]


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"status": 204}, "status 200"),
        ({"json": {"status": "up"}}, 'json `status` is "ok", not "up"'),
        ({"json": {"version": 2}}, "json without `version`"),
        ({"json": {"count": True}}, "json `count` is 1, not true"),
        ({"json": {"parts": []}}, "json `parts` is [1], not []"),
        ({"contains": "# HELP"}, "status 200 without `# HELP`"),
    ],
)
def test_what_was_expected_and_what_came_back_are_said(
    web: Any, make_context: Any, expected: dict[str, Any], found: str
) -> None:
    web.answers = [(200, '{"status": "ok", "count": 1, "parts": [1]}')]

    with pytest.raises(CheckFailed) as caught:
        run(check(web.url, **expected), make_context())

    assert caught.value.message.endswith(f"found {found}")
    assert not caught.value.changed
    assert caught.value.is_retryable


def test_all_checks_run_and_only_required_ones_fail(web: Any, make_context: Any) -> None:
    web.answers = [(500, ""), (200, "")]
    context = make_context()
    spec = HttpCheck.model_validate(
        {"checks": [{"get": web.url, "required": False, "name": "metrics"}, {"get": web.url}]}
    )

    outputs = run(spec, context)

    assert [(r.name, r.ok) for r in outputs.results] == [
        ("metrics", False),
        (f"GET {web.url}", True),
    ]
    assert "not required" in context.logged[0]


def test_a_refused_connection_and_a_slow_answer_fail_the_check(
    web: Any, service: Any, make_context: Any
) -> None:
    context = make_context()
    web.delay = lambda: context.sleep(0.4)
    spec = HttpCheck.model_validate(
        {"checks": [{"get": service.url}, {"get": web.url, "timeout": 0.1}]}
    )

    with pytest.raises(CheckFailed) as caught:
        run(spec, context)

    assert "connection refused" in caught.value.message
    assert "no answer within 0.1s" in caught.value.message


def test_what_failed_in_the_same_way_before_is_shown_and_not_counted(
    web: Any, make_context: Any
) -> None:
    web.answers = [(503, "")]
    spec = check(web.url)
    assert STEP.baseline is not None
    baseline = STEP.baseline(spec, make_context())

    outputs = run(spec, make_context(baseline=baseline))

    assert outputs.results[0].was_broken
    assert not outputs.results[0].ok


def test_what_fails_in_another_way_than_before_counts(web: Any, make_context: Any) -> None:
    web.answers = [(500, "")]
    spec = check(web.url)
    baseline = {spec.checks[0].key: "status 503"}

    with pytest.raises(CheckFailed):
        run(spec, make_context(baseline=baseline))


def test_a_secret_header_is_sent_and_shown_nowhere(web: Any, make_context: Any) -> None:
    context = make_context()
    spec = check(web.url, headers={"X-Token": Secret("hunter2")})

    outputs = run(spec, context)

    assert web.headers["X-Token"] == "hunter2"
    assert STEP.by_hand is not None
    shown = [*context.logged, *STEP.by_hand(spec), spec.checks[0].key, outputs.model_dump_json()]
    assert not any("hunter2" in text for text in shown)


def test_a_name_that_does_not_resolve_is_no_baseline(make_context: Any) -> None:
    assert STEP.baseline is not None

    assert STEP.baseline(check("http://nowhere.invalid/"), make_context()) == {}


def test_a_url_without_a_scheme_is_a_bad_parameter(make_context: Any) -> None:
    with pytest.raises(ParametersInvalid):
        run(check("localhost"), make_context())


def test_a_check_has_exactly_one_address() -> None:
    with pytest.raises(ValidationError, match="either `get` or `url`"):
        HttpCheck.model_validate({"checks": [{"get": "http://a", "url": "http://b"}]})
