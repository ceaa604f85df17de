"""Every error that the program raises on purpose: code, message, hint, exit status.

One class per distinct remedy; its docstring is its entry in `docs/reference/errors.md`.
Codes are stable and never reused. This module imports nothing of ours.

    RB1xx RB2xx RB3xx RB4xx   findings in a document (see language/diagnostics.py)
    RB5xx                     usage, inputs, secrets, settings         exit 2
    RB6xx                     journal, state, lock, claim, restore point
    RB7xx                     a step failed
    RB9xx                     a bug
"""

from enum import IntEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """What the process tells its caller. Never persisted."""

    SUCCEEDED = 0
    FAILED = 1
    INVALID = 2
    ROLLED_BACK = 3
    ROLLBACK_FAILED = 4
    PARKED = 5
    HELD = 6
    UNFIT = 7
    BUG = 70
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class RunbookError(Exception):
    """Base of all errors raised on purpose; carries what people need to go on."""

    code: ClassVar[str] = "RB000"
    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where


# --- usage, inputs, secrets, settings -------------------------------------------------------


class UsageError(RunbookError):
    """The command line asks for something that does not exist or does not fit together.

    Nothing has run. The hint names what to type instead.
    """

    code = "RB501"
    exit_status = ExitStatus.INVALID


class InputError(RunbookError):
    """An input is missing, unknown, or not of its declared type.

    Give it by `--set NAME=VALUE` or by the environment variable that its declaration names.
    """

    code = "RB502"
    exit_status = ExitStatus.INVALID


class SecretMissing(RunbookError):
    """A secret's provider has nothing to give: the variable is unset or the file unreadable.

    Set it and run the same command again; on `resume` secrets are fetched anew.
    """

    code = "RB503"
    exit_status = ExitStatus.INVALID


class ConfirmationMissing(RunbookError):
    """The runbook asks for a confirmation and there is no terminal to ask on.

    Add `--yes`, or the input that its `confirm` step reads.
    """

    code = "RB504"
    exit_status = ExitStatus.INVALID


class StateDirUnfit(RunbookError):
    """The state directory cannot be used: it is not there, not ours, or in what a run changes.

    Choose another by `--state-dir` or `RUNBOOK_STATE_DIR`. A second journal is never begun in
    silence.
    """

    code = "RB505"
    exit_status = ExitStatus.INVALID


class PolicyRefused(RunbookError):
    """The environment's `policy` does not allow this run, or not at this time.

    Nothing has run. A resume and a rollback are never refused, but for the resume of a run that had
    changed nothing and is too old: that begins it anew.
    """

    code = "RB508"
    exit_status = ExitStatus.INVALID


class ApprovalInvalid(RunbookError):
    """This person's approval does not count here: nothing was recorded.

    Nobody approves what they have started themselves, nor what has expired, nor twice.
    """

    code = "RB509"
    exit_status = ExitStatus.INVALID


class DocumentInvalid(RunbookError):
    """The runbook, or a file that it names, has errors. All have been shown; nothing has run."""

    code = "RB506"
    exit_status = ExitStatus.INVALID


# --- journal, state, lock, claim, restore point ---------------------------------------------


class JournalConflict(RunbookError):
    """Another process has written to this run's journal in between. This one has stopped."""

    code = "RB601"
    exit_status = ExitStatus.HELD


class JournalUnwritable(RunbookError):
    """The journal cannot be written: the disk is full, read-only or failing.

    Nothing new was started. Make room and `runbook resume`.
    """

    code = "RB602"
    exit_status = ExitStatus.UNFIT


class JournalUnreadable(RunbookError):
    """The journal, or an event in it, cannot be read by this version of the program."""

    code = "RB603"
    exit_status = ExitStatus.INVALID


class LockHeld(RunbookError):
    """Another process drives a run under this lock. Wait for it; `runbook status` shows it."""

    code = "RB604"
    exit_status = ExitStatus.HELD


class ClaimHeld(RunbookError):
    """An unfinished run has changed something. Only its `resume`, `rollback` or `abort` proceed."""

    code = "RB605"
    exit_status = ExitStatus.HELD


class RunUnknown(RunbookError):
    """There is no run of that name, or more than one that it could mean."""

    code = "RB606"
    exit_status = ExitStatus.INVALID


class RollbackRefused(RunbookError):
    """This run cannot be rolled back: it pins none, changed nothing, or a newer run stands."""

    code = "RB607"
    exit_status = ExitStatus.INVALID


class AmendmentRefused(RunbookError):
    """What the runbook says now does not fit what its run has done.

    Steps that have begun stay as they were, but for one that failed. Put them back as they were,
    or go on with the plan as it was: `runbook resume`.
    """

    code = "RB609"
    exit_status = ExitStatus.INVALID


# --- a step failed --------------------------------------------------------------------------


class StepError(RunbookError):
    """Base of what a step kind raises: the step failed.

    `changed` says whether the world may differ from before this attempt; doubt counts as changed.
    `is_retryable` says whether the same attempt again could go better.
    """

    code = "RB700"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        where: str | None = None,
        changed: bool = True,
        is_retryable: bool = True,
        output_tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, where=where)
        self.changed = changed
        self.is_retryable = is_retryable
        self.output_tail = output_tail


class Absent(StepError):
    """What the step acts on does not exist yet: a database, a bucket, a service's container.

    A backup records it as absent; what cannot do without it says what to do first.
    """

    code = "RB711"


class EngineGone(StepError):
    """The container engine answered, and does not any more: it restarts, or it has stopped.

    What it was told to do before may have been done. See `docker info`, then `runbook resume`.
    """

    code = "RB712"


class Unfit(StepError):
    """Something that the run needs is missing or unfit, found before anything was changed.

    A tool, a database, room on the disk, an intact restore point, a clean work tree: the message
    says.
    """

    code = "RB701"
    exit_status = ExitStatus.UNFIT

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message, hint=hint, where=where, changed=False, is_retryable=False)


class CommandFailed(StepError):
    """An external command ended with a status other than 0. Its last lines are shown."""

    code = "RB702"


class TimedOut(StepError):
    """The step did not end within its `timeout` and was stopped."""

    code = "RB703"


class CheckFailed(StepError):
    """A check did not find what it expects. Expected and found are shown."""

    code = "RB704"


class ThresholdCrossed(StepError):
    """A monitor saw more failures than its thresholds allow."""

    code = "RB705"


class NotConfirmed(StepError):
    """A person was asked and did not agree."""

    code = "RB706"


class AnsweredFailed(StepError):
    """A person settled a step in doubt as failed."""

    code = "RB707"


class GivenUp(StepError):
    """A `fail` step was reached: its author says why the runbook cannot go on, and what to do."""

    code = "RB713"


class NotDelivered(StepError):
    """A message did not reach all whom it was for."""

    code = "RB714"


class ParametersInvalid(StepError):
    """A parameter that was computed at run time is not of the type that the step wants."""

    code = "RB708"


class StepStopped(StepError):
    """The step was stopped before its end, by a signal or by another step's failure."""

    code = "RB709"


class SystemRefused(StepError):
    """The operating system refused: no room on the disk, no permission, an unreadable file.

    Make room or mend what the message names, then `runbook resume`.
    """

    code = "RB710"


class KindBroken(StepError):
    """The step kind raised something unforeseen. A bug in the kind; the step counts as failed."""

    code = "RB790"


class Bug(RunbookError):
    """The program met a state that it holds impossible. The traceback's path is printed."""

    code = "RB900"
    exit_status = ExitStatus.BUG


def error_classes() -> dict[str, type[RunbookError]]:
    """Every concrete error class by its code."""
    found: dict[str, type[RunbookError]] = {}
    pending = list(RunbookError.__subclasses__())
    while pending:
        error_class = pending.pop()
        pending.extend(error_class.__subclasses__())
        assert error_class.code not in found, error_class.code
        found[error_class.code] = error_class
    return dict(sorted(found.items()))
