"""What a person can type next: commands that work as they stand."""

from dataclasses import dataclass

from runbook.core.events import Trigger
from runbook.errors import ExitStatus
from runbook.report.ending import End
from runbook.report.view import RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOn:
    """The commands that go on with a run."""

    main: str | None = None
    """The one that most people want; absent: there is nothing to go on with."""
    others: tuple[str, ...] = ()


def way_on(view: RunView, invocation: str) -> WayOn:
    """What to type after a run has been left so; `invocation` calls this program."""
    resume = f"{invocation} resume {view.id}"
    match view.end:
        case End.SUCCEEDED | End.ROLLED_BACK | End.ABORTED | End.SUPERSEDED:
            return WayOn()
        case End.PARKED if view.waiting:
            *others, main = _answers(view, invocation)
            return WayOn(main=main, others=tuple(others))
        case End.PARKED | End.FAILED | End.ROLLBACK_FAILED | End.INTERRUPTED | End.UNFINISHED:
            return WayOn(main=resume, others=_other_ways(view, invocation))


def _answers(view: RunView, invocation: str) -> list[str]:
    """The answers as commands, the likeliest last."""
    waiting, resume = view.waiting[0], f"{invocation} resume {view.id}"
    if waiting.approvers:
        is_one_of_many = sum(1 for other in view.waiting if other.approvers) > 1
        rest = f"{view.id} --step {waiting.step}" if is_one_of_many else view.id
        # Who started it may perhaps do neither of the two, but may always give it up.
        words = [f"abort {view.id} --reason TEXT", f"reject {rest} --reason TEXT"]
        return [f"{invocation} {each}" for each in (*words, f"approve {rest}")]
    if waiting.kind == "confirm" and not waiting.is_doubt:
        return [f"{resume} --yes"]
    words = ["failed", "again", "done"] if waiting.is_doubt else ["failed", "done"]
    return [f"{resume} --answer {waiting.step}={word} --reason TEXT" for word in words]


def _other_ways(view: RunView, invocation: str) -> tuple[str, ...]:
    ways = []
    if view.can_roll_back:
        ways.append(f"{invocation} rollback {view.id}")
    # An interruption offers two ways: on, and back where there is a way back.
    if view.is_changed and not (view.end is End.INTERRUPTED and ways):
        ways.append(f"{invocation} abort {view.id} --reason TEXT")
    return tuple(ways)


def headline(view: RunView) -> str:
    """How it ended, in capitals where somebody has to do something."""
    is_rollback = view.undone is not None
    match view.end:
        case End.FAILED if is_rollback:
            return "ROLLBACK FAILED"
        case End.PARKED if is_rollback and view.exit_status is ExitStatus.ROLLBACK_FAILED:
            return "ROLLBACK IN DOUBT"
        case End.INTERRUPTED if is_rollback:
            return f"ROLLBACK INTERRUPTED{_by_signal(view)}"
        case End.INTERRUPTED:
            return f"INTERRUPTED{_by_signal(view)}"
        case End.SUCCEEDED if is_rollback and view.trigger == Trigger.FAILURE:
            return str(End.ROLLED_BACK)
        case End.SUCCEEDED | End.ROLLED_BACK | End.ABORTED | End.SUPERSEDED:
            return str(view.end)
        case End.FAILED | End.ROLLBACK_FAILED | End.PARKED | End.UNFINISHED:
            return str(view.end).upper()


def _by_signal(view: RunView) -> str:
    return f" by {view.signal}" if view.signal else ""
