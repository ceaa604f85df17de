"""What every command accepts, and the streams that it answers on.

stdout is for the answer; stderr for progress, prompts and diagnostics.
"""

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from runbook.settings import Settings

F = TypeVar("F", bound=Callable[..., Any] | click.Command)


@dataclass(slots=True, kw_only=True)
class Options:
    """What the command line says to every command, and the environment beside it."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    state_dir: str | None = None
    output: str = "text"
    verbosity: int = 0
    """Below 0: only failures and the end. Above 0: the steps' logs, too."""
    color: str = "auto"
    is_mute: bool = False
    """`--no-input`: never ask."""
    lost: str = ""
    """Why stdout did not take an answer, though somebody waits for it; empty: it did."""

    # --- what kind of place this is -------------------------------------------------------

    @property
    def is_ci(self) -> bool:
        """Whether a CI system runs us."""
        return self.environ.get("CI", "").lower() not in ("", "0", "false")

    @property
    def is_interactive(self) -> bool:
        """Whether a person sits at a terminal that we may ask."""
        is_terminal = _is_terminal(sys.stdin) and _is_terminal(sys.stderr)
        return is_terminal and not self.is_mute and not self.is_ci

    @property
    def is_animated(self) -> bool:
        """Whether lines on stderr may be rewritten, whatever their colour."""
        is_dumb = self.environ.get("TERM", "") in ("", "dumb")
        return _is_terminal(sys.stderr) and not is_dumb and not self.is_ci

    def has_color(self, stream: TextIO) -> bool:
        """Whether what is written there may be coloured."""
        if self.color != "auto":
            return self.color == "always"
        if self.environ.get("NO_COLOR"):
            return False
        if self.environ.get("FORCE_COLOR"):
            return True
        return _is_terminal(stream) and self.environ.get("TERM") != "dumb"

    # --- what comes of it -----------------------------------------------------------------

    def settings(self) -> "Settings":
        """The settings of this process; raises StateDirUnfit."""
        from runbook.settings import load_settings

        return load_settings(
            self.environ, state_dir=self.state_dir, is_interactive=self.is_interactive
        )

    def invocation(self) -> str:
        """How to call this program again, over the same state directory."""
        from runbook.settings import invocation

        return invocation(self.environ, self.state_dir)

    # --- streams --------------------------------------------------------------------------

    def answer(self, text: str) -> None:
        """Write to stdout; a reader who has gone does not matter, a full disk is noted."""
        try:
            _write(sys.stdout, text)
        except OSError as error:
            self.lost = (error.strerror or "").lower()
            _discard(sys.stdout)

    def answer_json(self, kind: str, content: Mapping[str, Any]) -> None:
        """Write the command's one JSON document; among events it is a line, as they are."""
        import json

        if self.output == "jsonl":
            self.answer(json.dumps({"type": kind, **content}, ensure_ascii=False))
            return
        document = {"format": f"runbook.{kind}/1", **content}
        self.answer(json.dumps(document, indent=2, ensure_ascii=False))

    def say(self, text: str) -> None:
        """Write to stderr."""
        with suppress(OSError):
            _write(sys.stderr, text)

    def mark(self, text: str, color: str, stream: TextIO) -> str:
        """The text in colour, where that stream takes it."""
        return click.style(text, fg=color, bold=True) if self.has_color(stream) else text


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text if text.endswith("\n") else f"{text}\n")
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        # The terminal is gone; the run and its exit status are not.
        return
    except UnicodeEncodeError:
        plain = text.encode("ascii", "backslashreplace").decode("ascii")
        stream.write(plain if plain.endswith("\n") else f"{plain}\n")
        stream.flush()


def _discard(stream: TextIO) -> None:
    """Let the rest go nowhere: Python flushes once more at its exit, and would complain there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


# --- click options --------------------------------------------------------------------------


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that keeps a given value among the Options, wherever on the line it stood."""

    def keep(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value is not None:
            setattr(ctx.ensure_object(Options), name, value)
        return value

    return keep


def _flag(*names: str, field_name: str, value: object, text: str) -> Callable[[F], F]:
    return click.option(
        *names, flag_value=value, default=None, expose_value=False,
        callback=_keep(field_name), help=text,
    )  # fmt: skip


def common_options(target: F) -> F:
    """Give a command the options that all have."""
    decorators = [
        click.option(
            "--state-dir", default=None, expose_value=False, callback=_keep("state_dir"),
            metavar="DIR", help="Where journal, logs and restore points lie. Default:"
            " /var/lib/runbook where we may write it, else ~/.local/state/runbook.",
        ),
        _flag("-v", "--verbose", field_name="verbosity", value=1, text="Show the steps' logs."),
        _flag("-q", "--quiet", field_name="verbosity", value=-1, text="Only failures and the end."),
        click.option(
            "--color", type=click.Choice(["auto", "always", "never"]), default=None,
            expose_value=False, callback=_keep("color"), help="Whether to colour.",
        ),
        _flag("--no-input", field_name="is_mute", value=True, text="Never ask."),
    ]  # fmt: skip
    return _given(target, decorators)


def planning_options(target: F) -> F:
    """Give a command what a plan is made from, besides its file."""
    from pathlib import Path

    decorators = [
        click.option(
            "-e", "--env", "environment", metavar="NAME", help="The environment to act on."
        ),
        click.option(
            "--set", "assignments", multiple=True, metavar="NAME=VALUE",
            help="Give an input. Repeatable.",
        ),
        click.option(
            "--vars-file", "vars_files", multiple=True, metavar="FILE",
            type=click.Path(path_type=Path),
            help="YAML with `inputs` and `vars`, laid over the environment's. Repeatable.",
        ),
    ]  # fmt: skip
    return _given(target, decorators)


def _given(target: F, decorators: Sequence[Callable[[F], F]]) -> F:
    # A function collects its options from the last to the first, a command as they come.
    in_order = decorators if isinstance(target, click.Command) else reversed(decorators)
    for decorate in in_order:
        target = decorate(target)
    return target


def output_option(*formats: str) -> Callable[[F], F]:
    """Give a command `--output`."""
    return click.option(
        "-o", "--output", type=click.Choice(formats or ("text", "json")), default=None,
        expose_value=False, callback=_keep("output"), help="How to answer.",
    )  # fmt: skip


HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Context settings of every command."""
