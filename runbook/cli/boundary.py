"""The edge of the program: whatever happens becomes an exit status, and words for people.

With `engine/perform.py` the only place that catches `Exception`. Never a traceback on the screen.
"""

import os
import sys
from collections.abc import Sequence

import click

from runbook.cli.main import program
from runbook.cli.options import Options
from runbook.errors import Bug, ExitStatus, RunbookError, StepError, Unfit, UsageError


def run_program(arguments: Sequence[str]) -> int:
    """Run a command line to its end; its exit status."""
    options = Options()
    try:
        _refuse_other_encodings(arguments)
        status = program.main(
            args=list(arguments), prog_name="runbook", standalone_mode=False, obj=options
        )
        if options.lost:
            raise Unfit(f"the answer cannot be written: {options.lost}")
    except click.exceptions.NoArgsIsHelpError as error:
        options.answer(error.format_message())
        return ExitStatus.INVALID
    except click.ClickException as error:
        return _refuse(_usage_error(error), options, arguments)
    except (click.Abort, KeyboardInterrupt, EOFError):
        return ExitStatus.INTERRUPTED
    except Bug as error:
        return _confess(error, options, arguments)
    except RunbookError as error:
        return _refuse(error, options, arguments)
    except Exception as error:  # noqa: BLE001 — the boundary: a person gets a path, not a traceback
        return _confess(error, options, arguments)
    return int(status or 0)


def _refuse_other_encodings(arguments: Sequence[str]) -> None:
    try:
        folder = os.getcwd()  # noqa: PTH109 — pathlib costs the start some time
    except FileNotFoundError as error:
        raise UsageError("this folder is gone", hint="cd to one that is there") from error
    for text in (*arguments, folder):
        if not text.isprintable() and any("\ud800" <= each <= "\udfff" for each in text):
            shown = ascii(text)
            raise UsageError(f"{shown} is not UTF-8 text", hint="give it a name that is")


def _usage_error(error: click.ClickException) -> UsageError:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = ctx.command_path if ctx else "runbook"
    message = error.format_message().removesuffix(".").replace("'", "`")
    return UsageError(message[:1].lower() + message[1:], hint=f"{path} --help")


def _refuse(error: RunbookError, options: Options, arguments: Sequence[str]) -> int:
    """Say what is wrong and what to type; the error's exit status."""
    status = exit_status_of(error)
    diagnostics = getattr(error, "diagnostics", None)
    if diagnostics is None:
        options.say(render_error(error, options))
    else:
        from runbook.language.diagnostics import render_all

        options.say(render_all(diagnostics))
    _answer_error(error, status, options, arguments)
    return status


def exit_status_of(error: RunbookError) -> ExitStatus:
    """What an error that ends a command tells the caller."""
    # Raised outside any step: nothing has run, what the runbook says is wrong.
    if isinstance(error, StepError) and error.exit_status is ExitStatus.FAILED:
        return ExitStatus.INVALID
    return error.exit_status


def render_error(error: RunbookError, options: Options) -> str:
    """The error as people read it."""
    head = options.mark(f"error[{error.code}]", "red", sys.stderr)
    lines = [f"{head}: {error.message}"]
    if error.where:
        lines.append(f"  --> {error.where}")
    lines += [f"   | {line}" for line in getattr(error, "output_tail", ())]
    label = "  = help: "
    for line in _hint(error, options):
        lines.append(f"{label}{line}")
        label = " " * len(label)
    return "\n".join(lines)


def _hint(error: RunbookError, options: Options) -> list[str]:
    """The hint's lines; a line that begins with `runbook ` becomes what can be typed here."""
    lines = (error.hint or "").splitlines()
    return [
        line.replace("runbook", options.invocation(), 1) if line.startswith("runbook ") else line
        for line in lines
    ]


def _answer_error(
    error: RunbookError, status: ExitStatus, options: Options, arguments: Sequence[str]
) -> None:
    """The command's one JSON document, where JSON is what was asked for."""
    wanted = wanted_output(options, arguments)
    if wanted == "text":
        return
    from runbook.report.document import error_document

    document = error_document(
        error,
        exit_status=status,
        hint="\n".join(_hint(error, options)) or None,
        diagnostics=[found.to_json() for found in getattr(error, "diagnostics", ())],
    )
    if wanted == "json":
        options.answer_json("error", document)
    else:
        import json

        options.answer(json.dumps({"type": "error", **document}, ensure_ascii=False))


def wanted_output(options: Options, arguments: Sequence[str]) -> str:
    """`text`, `json` or `jsonl`; looks at the bare words where click gave up before it knew."""
    if options.output != "text":
        return options.output
    words = list(arguments)
    for at, word in enumerate(words):
        for form in ("json", "jsonl"):
            pair = words[at : at + 2]
            is_pair = pair in (["-o", form], ["--output", form], ["--format", form])
            if is_pair or word in (f"-o{form}", f"--output={form}", f"--format={form}"):
                return form
    return "text"


def _confess(error: Exception, options: Options, arguments: Sequence[str]) -> int:
    """A bug: keep the traceback where only its owner reads it, and say where."""
    path = _keep_traceback(error, options)
    bug = Bug(
        f"a bug in runbook: {type(error).__name__}" + (f": {error}" if str(error) else ""),
        hint=f"the traceback is in {path}\nrunbook status",
    )
    options.say(render_error(bug, options))
    _answer_error(bug, ExitStatus.BUG, options, arguments)
    return ExitStatus.BUG


def _keep_traceback(error: Exception, options: Options) -> str:
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    try:
        places = [str(options.settings().state_dir), tempfile.gettempdir()]
    except RunbookError:
        places = [tempfile.gettempdir()]
    for place in places:
        try:
            # mkstemp makes it readable for its owner alone.
            descriptor, name = tempfile.mkstemp(prefix="traceback-", suffix=".txt", dir=place)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            continue
        return name
    return "no place: no disk takes anything"
