"""Runs and events as JSON: complete, and never more than JSON."""

import json
from datetime import UTC, datetime
from typing import Any

from runbook.core.events import Outcome, PlanAmended
from runbook.core.failure import Failure
from runbook.report.document import event_line, run_document
from runbook.report.view import view_run

FAILURE = Failure(code="RB702", message="ended with exit code 1", output_tail=("no",))


def test_a_run_says_what_failed_and_what_to_type(deploy: Any) -> None:
    run = deploy.ok("preflight").fails("dump", FAILURE).ends(Outcome.FAILED).recording()

    document = json.loads(json.dumps(run_document(view_run(run), invocation="runbook")))

    assert document["end"] == "failed"
    assert document["failed"] == "dump"
    assert document["system"] == ["the system is as it was"]
    assert document["commands"]["go_on"] == "runbook resume deploy-20261123-044000-7f3a"
    dump = next(step for step in document["steps"] if step["id"] == "dump")
    assert dump["failure"]["output_tail"] == ["no"]
    assert dump["took_s"] == 1.0


def test_every_event_of_a_run_is_one_line_of_json(tripped: Any) -> None:
    rollback = tripped.is_handed_over().ok("point").asks("sure", "go on?")
    amended = PlanAmended(at=tripped.at, by="ann", plan=tripped.plan)
    events = [*tripped.events, *rollback.events, amended]

    lines = [event_line("run", seq, event) for seq, event in enumerate(events)]

    decoded = [json.loads(line) for line in lines]
    assert [line["type"] for line in decoded] == [type(event).__name__ for event in events]
    assert all(datetime.fromisoformat(line["at"]).tzinfo == UTC for line in decoded)
    assert not any("plan" in line for line in decoded)
