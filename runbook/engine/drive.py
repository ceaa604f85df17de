"""The one loop over the machine. It knows nothing of threads, clocks or stores.

A runtime advances it: it is given actions, performs them as it sees fit, records what happened in
its journal, and sends back what it recorded together with what is still in flight.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from runbook.core.actions import Action
from runbook.core.events import Event
from runbook.core.machine import apply, next_actions
from runbook.core.plan import Plan
from runbook.core.state import RunState

Decide = Callable[[Plan, RunState, frozenset[str]], tuple[Action, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a runtime tells the loop."""

    events: tuple[Event, ...]
    """What has been recorded since the last report, in order of the journal."""
    in_flight: frozenset[str]
    """The steps that are being executed, or wait for their `not_before`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the loop tells a runtime."""

    actions: tuple[Action, ...]
    state: RunState
    """Where the run stands."""


def drive(
    plan: Plan, state: RunState, decide: Decide = next_actions
) -> Generator[Turn, Report, RunState]:
    """Yield what is to be done until nothing is, with nothing in flight; return the last state.

    An action that is not performed is yielded again after the next report: a runtime that cannot
    answer an `Ask` just stops sending.
    """
    in_flight: frozenset[str] = frozenset()
    while True:
        actions = decide(plan, state, in_flight)
        if not actions and not in_flight:
            return state
        report = yield Turn(actions=actions, state=state)
        for event in report.events:
            state = apply(plan, state, event)
        in_flight = report.in_flight
