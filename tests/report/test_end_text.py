"""What the end of a run says, word for word, and with which exit status."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from runbook.core.events import Approvers, Outcome
from runbook.core.failure import Failure
from runbook.core.plan import JsonObject
from runbook.errors import ExitStatus
from runbook.report.ending import exit_status
from runbook.report.text import end_text
from runbook.report.view import Recording, RunView, view_run

CALL = "runbook --state-dir /srv/state"
DISK = Failure(code="RB701", message="the disk has 1.2 GB free, and 6.0 GB are needed")
NO_CACHE = Failure(
    code="RB702",
    message="`python3 ops/clear_cache.py` ended with exit code 1, expected 0",
    where="python3 ops/clear_cache.py",
    output_tail=("no answer within 2 s",),
)

Golden = Callable[[str, str], None]


class Story(Protocol):
    """What these tests use of conftest's Story."""

    def ok(self, *steps: str, outputs: JsonObject | None = None) -> "Story": ...
    def starts(self, name: str) -> "Story": ...
    def fails(self, name: str, failure: Failure, *, changed: bool = False) -> "Story": ...
    def skips(self, name: str, reason: str) -> "Story": ...
    def asks(self, name: str, question: str, approvers: Approvers | None = None) -> "Story": ...
    def is_doubted(self, name: str, reason: str) -> "Story": ...
    def hears(self, signal: str) -> "Story": ...
    def is_resumed_after(self, minutes: int) -> "Story": ...
    def ends(
        self, outcome: Outcome, *, reason: str = "", successor: str | None = None
    ) -> "Story": ...
    def is_handed_over(self) -> "Story": ...
    def is_undone_by_hand(self) -> "Story": ...
    def recording(self) -> Recording: ...


def end(
    story: Story,
    *,
    undone: Story | None = None,
    signal: str | None = None,
    error: str | None = None,
) -> tuple[str, ExitStatus]:
    """The end of a story as text, and its exit status."""
    run = story.recording()
    status = exit_status(run.plan, run.state, signal=signal, is_cut_short=error is not None)
    view = view_run(
        run,
        undone=undone.recording() if undone else None,
        exit_status=status,
        signal=signal,
        error=error,
    )
    return _text(view), status


def _text(view: RunView) -> str:
    return end_text(view, invocation=CALL, log_dir=f"/srv/state/runs/{view.id}")


def test_a_run_that_succeeded_says_so_in_one_line(released: Story, golden: Golden) -> None:
    text, status = end(released.ok("watch").ends(Outcome.SUCCEEDED))

    golden("succeeded.txt", text)
    assert status is ExitStatus.SUCCEEDED
    assert len(text.splitlines()) == 1


def test_a_failure_that_was_gone_on_without_is_named(deploy: Story, golden: Golden) -> None:
    deploy.ok("preflight", "dump", "restore_point").fails("hello", NO_CACHE)
    deploy.ok("migrate", "release", "watch").ends(Outcome.SUCCEEDED)

    text, status = end(deploy)

    golden("went_on_without.txt", text)
    assert status is ExitStatus.SUCCEEDED


def test_a_watch_that_does_not_tell_is_named(released: Story, golden: Golden) -> None:
    watched = released.ok("watch", outputs={"verdict": "inconclusive"})

    text, status = end(watched.ends(Outcome.SUCCEEDED))

    golden("inconclusive.txt", text)
    assert status is ExitStatus.SUCCEEDED


def test_an_unfit_machine_leaves_the_system_as_it_was(deploy: Story, golden: Golden) -> None:
    text, status = end(deploy.fails("preflight", DISK).ends(Outcome.FAILED))

    golden("unfit.txt", text)
    assert status is ExitStatus.UNFIT
    assert "the system is as it was" in text


def test_a_failure_before_any_change_says_that_nothing_was_changed(
    deploy: Story, golden: Golden
) -> None:
    failed = deploy.ok("preflight").fails("dump", NO_CACHE).ends(Outcome.FAILED)

    text, status = end(failed)

    golden("failed_unchanged.txt", text)
    assert status is ExitStatus.FAILED


def test_a_rollback_that_a_failure_started_ends_with_what_failed(
    tripped: Story, golden: Golden
) -> None:
    rollback = tripped.is_handed_over()
    rollback.ok("point", "sure", "stop", "cache", "start").ends(Outcome.SUCCEEDED)

    text, status = end(rollback, undone=tripped)

    golden("rolled_back.txt", text)
    assert status is ExitStatus.ROLLED_BACK


def test_a_failed_rollback_says_how_the_system_stands_and_what_to_do(
    tripped: Story, golden: Golden
) -> None:
    rollback = tripped.is_handed_over()
    rollback.ok("point", "sure", "stop").fails("cache", NO_CACHE).ends(Outcome.FAILED)

    text, status = end(rollback, undone=tripped)

    golden("rollback_failed.txt", text)
    assert status is ExitStatus.ROLLBACK_FAILED
    assert "web is stopped" in text


def test_a_rollback_by_hand_says_which_run_is_undone(released: Story, golden: Golden) -> None:
    released.ok("watch").ends(Outcome.SUCCEEDED)
    rollback = released.is_undone_by_hand()
    rollback.ok("point", "sure", "stop", "cache", "start").ends(Outcome.SUCCEEDED)

    text, status = end(rollback, undone=released)

    golden("undone_by_hand.txt", text)
    assert status is ExitStatus.SUCCEEDED


def test_a_rollback_that_leaves_everything_stopped_says_so(released: Story, golden: Golden) -> None:
    released.ok("watch").ends(Outcome.SUCCEEDED)
    rollback = released.is_undone_by_hand().ok("point", outputs={"served": False})
    rollback.ok("sure", "stop", "cache").skips("start", "`steps.point.outputs.served` is false")

    text, status = end(rollback.ends(Outcome.SUCCEEDED), undone=released)

    golden("undone_and_stopped.txt", text)
    assert status is ExitStatus.SUCCEEDED


def test_a_step_in_doubt_parks_the_run_with_all_three_answers(
    deploy: Story, golden: Golden
) -> None:
    deploy.ok("preflight", "dump", "restore_point", "hello").starts("migrate")
    deploy.is_doubted("migrate", "its probe ended with exit code 2")

    text, status = end(deploy)

    golden("parked_in_doubt.txt", text)
    assert status is ExitStatus.PARKED


def test_a_confirmation_parks_the_run_with_yes(tripped: Story, golden: Golden) -> None:
    rollback = tripped.is_handed_over()
    rollback.ok("point").asks("sure", "what was written since is replaced; go on?")

    text, status = end(rollback, undone=tripped)

    golden("parked_confirm.txt", text)
    assert status is ExitStatus.ROLLBACK_FAILED


def test_who_asks_for_approval_is_told_who_may_answer_and_how_to_give_it_up(
    deploy: Story, golden: Golden
) -> None:
    text, status = end(deploy.asks("preflight", "release v2?", Approvers(required=2)))

    golden("parked_approval.txt", text)
    assert status is ExitStatus.PARKED
    assert "abort deploy-20261123-044000-7f3a --reason TEXT" in text


def test_a_long_interruption_is_asked_about_before_a_rollback(
    released: Story, golden: Golden
) -> None:
    released.starts("watch").is_resumed_after(42)
    released.fails("watch", Failure(code="RB705", message="3 failures in a row (limit 3)"))

    text, status = end(released)

    golden("parked_stale.txt", text)
    assert status is ExitStatus.PARKED


def test_an_interrupted_run_says_what_serves_and_offers_both_ways(
    released: Story, golden: Golden
) -> None:
    text, status = end(released.starts("watch").hears("SIGINT"), signal="SIGINT")

    golden("interrupted.txt", text)
    assert status is ExitStatus.INTERRUPTED
    assert "release is serving, unwatched" in text


def test_a_journal_that_takes_no_more_is_named_with_the_way_on(
    released: Story, golden: Golden
) -> None:
    text, status = end(released, error="the journal cannot be written: no space left on device")

    golden("unwritable.txt", text)
    assert status is ExitStatus.ROLLBACK_FAILED


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (Path(__file__).parent / "golden").glob("*.txt"))
)
def test_the_last_line_can_be_typed_as_it_stands(name: str) -> None:
    last = (Path(__file__).parent / "golden" / name).read_text(encoding="utf-8").splitlines()[-1]

    words = shlex.split(last) if last.startswith("runbook") else []

    is_command = words[:3] == ["runbook", "--state-dir", "/srv/state"]
    is_command = is_command and words[3] in ("resume", "approve")
    assert is_command or last.startswith(("succeeded", "rolled back"))
