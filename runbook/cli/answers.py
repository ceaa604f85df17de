"""Where a run's questions are answered: from the command line, else by the person at the terminal.

No question is ever put where no terminal is: the run parks instead.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runbook.core.actions import Ask
from runbook.core.events import Verdict
from runbook.core.plan import Plan
from runbook.core.state import RunState, Status
from runbook.engine.watcher import Answer
from runbook.errors import ConfirmationMissing, UsageError

_DOUBT_CHOICES = """\
  done    it did its work: go on after it
  again   it did not: run it again
  failed  count it as failed"""


def read_line(prompt: str) -> str | None:
    """A line that a person types at the terminal; None at its end (Ctrl-D, or it was closed)."""
    try:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stderr.write("\n")
    except OSError:
        return None
    return line.strip() if line else None


@dataclass(slots=True, kw_only=True)
class Answers:
    """What a person has said beforehand, and how to ask for the rest."""

    user: str
    is_interactive: bool
    is_confirmed: bool = False
    """`--yes`: what `confirm` asks is answered."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """`--answer`, by step; each serves once."""
    reason: str = ""
    read: Callable[[str], str | None] = read_line

    @property
    def can_answer(self) -> bool:
        """Whether what `confirm` asks will get an answer."""
        return self.is_confirmed or self.is_interactive

    def answer(self, plan: Plan, state: RunState, ask: Ask) -> Answer | None:
        """The answer to a question, or None where nobody is there to give one."""
        now = state.steps[ask.step]
        if now.status is Status.ASKING and now.approvers is not None:
            return None  # other people's to say, by `runbook approve`
        is_doubt = now.status is Status.DOUBTFUL
        verdict = self.verdicts.get(ask.step)
        if verdict is not None and (is_doubt or verdict is not Verdict.AGAIN):
            del self.verdicts[ask.step]
            return Answer(verdict=verdict, by=self.user, reason=self.reason)
        is_confirm = plan.step(ask.step).kind == "confirm" and not is_doubt
        if is_confirm and self.is_confirmed:
            return Answer(verdict=Verdict.DONE, by=self.user, reason="--yes")
        if not self.is_interactive:
            return None
        return self._ask_doubt(ask) if is_doubt else self._ask_yes_no(ask)

    def _ask_doubt(self, ask: Ask) -> Answer | None:
        """done, again or failed, and why; None: the person went away."""
        prompt = f"\n{ask.step}: {ask.question}\n{_DOUBT_CHOICES}\ndone, again or failed? "
        words = {"done": Verdict.DONE, "again": Verdict.AGAIN, "failed": Verdict.FAILED}
        while (typed := self.read(prompt)) is not None:
            verdict = words.get(typed.lower())
            if verdict is not None:
                reason = self.read("Reason: ")
                return None if reason is None else self._said(verdict, reason)
            prompt = "Please type done, again or failed: "
        return None

    def agrees(self, question: str) -> bool:
        """Whether a person says yes, or has said so beforehand."""
        if self.is_confirmed or not self.is_interactive:
            return self.is_confirmed
        return (self.read(f"\n{question} [y/N] ") or "").lower() in ("y", "yes")

    def confirm_environment(self, plan: Plan) -> None:
        """Have a person type the name of a protected environment; raises ConfirmationMissing."""
        if not plan.is_protected or self.is_confirmed:
            return
        prompt = f"\n{plan.runbook} -> {plan.environment}, which is protected. Type its name: "
        if self.is_interactive and self.read(prompt) == plan.environment:
            return
        raise ConfirmationMissing(
            f"environment `{plan.environment}` is protected, and nobody typed its name",
            hint="type it when you are asked, or add --yes",
        )

    def _ask_yes_no(self, ask: Ask) -> Answer | None:
        prompt = f"\n{ask.step}: {ask.question} [y/N] "
        while (typed := self.read(prompt)) is not None:
            if typed.lower() in ("y", "yes"):
                return self._said(Verdict.DONE, "")
            if typed.lower() in ("", "n", "no"):
                return self._said(Verdict.FAILED, "")
            prompt = "Please type y or n: "
        return None

    def _said(self, verdict: Verdict, reason: str) -> Answer:
        return Answer(verdict=verdict, by=self.user, reason=reason)


def parse_verdicts(words: tuple[str, ...], reason: str | None) -> dict[str, Verdict]:
    """What `--answer STEP=done` says; raises UsageError."""
    if words and not reason:
        raise UsageError("`--answer` needs a reason", hint="add --reason TEXT")
    if reason and not words:
        raise UsageError("`--reason` goes with `--answer`", hint="add --answer STEP=done")
    known = {"done": Verdict.DONE, "again": Verdict.AGAIN, "failed": Verdict.FAILED}
    verdicts = {}
    for word in words:
        step, _, said = word.partition("=")
        if not step or said not in known:
            raise UsageError(
                f"expected STEP=done, STEP=again or STEP=failed after `--answer`, found `{word}`"
            )
        verdicts[step] = known[said]
    return verdicts


def check_steps_exist(verdicts: Mapping[str, Verdict], plan: Plan) -> None:
    """Raises UsageError for an answer to a step that the plan does not have."""
    from difflib import get_close_matches

    ids = [step.id for step in plan.steps]
    for step in verdicts:
        if step not in ids:
            close = get_close_matches(step, ids, n=1)
            raise UsageError(
                f"there is no step `{step}` in {plan.runbook}",
                hint=f"did you mean `{close[0]}`?" if close else f"its steps: {', '.join(ids)}",
            )
