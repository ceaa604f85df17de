"""Inputs from the command line: `--set`, and what a person at the terminal is asked for."""

import getpass
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from runbook.cli.answers import Answers, read_line
from runbook.core.plan import JsonObject, Plan
from runbook.errors import InputError, UsageError
from runbook.language.inputs import misfit, sensitive_inputs


def parse_assignments(words: tuple[str, ...]) -> Mapping[str, str]:
    """What `--set NAME=VALUE` says; raises UsageError."""
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"expected NAME=VALUE after `--set`, found `{word}`")
        if name in given:
            raise UsageError(f"`--set {name}=…` is there twice")
        given[name] = value
    return given


def read_hidden(prompt: str) -> str | None:
    """A line that is typed without being shown; None at its end."""
    try:
        return getpass.getpass(prompt, stream=sys.stderr)
    except (EOFError, OSError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Asks a person, before anything runs, for all the inputs that have no value yet."""

    given: Mapping[str, str]
    """What `--set` says."""
    environ: MutableMapping[str, str]
    """The process's variables; a sensitive input that is typed becomes one, as if exported."""
    is_interactive: bool
    read: Callable[[str], str | None] = read_line
    read_hidden: Callable[[str], str | None] = read_hidden

    def ask(
        self, declarations: JsonObject, tell: Callable[[], Sequence[str]] = tuple
    ) -> dict[str, str]:
        """What was given, and what was typed; what `tell` says comes before the first question.

        Raises:
            InputError: the person went away.
        """
        asked = dict(self.given)
        if not self.is_interactive:
            return asked
        is_told = False
        for name, declaration in declarations.items():
            if not isinstance(declaration, dict) or not self._is_missing(name, declaration):
                continue
            told = "" if is_told else "".join(f"\n{line}" for line in tell())
            is_told = True
            prompt = f"{told}{_explain(name, declaration)}{name}: "
            typed = self._fitting(name, declaration, prompt)
            if declaration.get("sensitive"):
                self.environ[str(declaration["env"])] = typed
            else:
                asked[name] = typed
        return asked

    def _fitting(self, name: str, declaration: JsonObject, prompt: str) -> str:
        """A line that the input takes; asked for again until one is."""
        is_hidden = bool(declaration.get("sensitive"))
        while (typed := (self.read_hidden if is_hidden else self.read)(prompt)) is not None:
            unfit = misfit(declaration, typed, is_hidden=is_hidden)
            if is_hidden and not typed:
                unfit = "expected something, found nothing"
            if unfit is None:
                return typed
            prompt = f"{unfit}\n{name}: "
        way = f"export {declaration.get('env')}=…" if is_hidden else f"add --set {name}=VALUE"
        raise InputError(f"input `{name}` is missing", hint=way)

    def _is_missing(self, name: str, declaration: JsonObject) -> bool:
        variable = declaration.get("env")
        is_set = isinstance(variable, str) and bool(self.environ.get(variable))
        has_value = name in self.given or is_set or "default" in declaration
        return not has_value and declaration.get("required", True) is not False


def questions(
    given: Mapping[str, str], environ: MutableMapping[str, str], answers: Answers
) -> Questions:
    """The questions that go with these answers."""
    return Questions(
        given=given, environ=environ, is_interactive=answers.is_interactive, read=answers.read
    )


def ask_secrets(plans: Sequence[Plan], environ: MutableMapping[str, str], answers: Answers) -> None:
    """Ask for the sensitive inputs of plans that no variable gives: no run has recorded them."""
    for plan in plans:
        questions({}, environ, answers).ask(sensitive_inputs(plan))


def _explain(name: str, declaration: JsonObject) -> str:
    """What a person must know to answer: the help, and what may be chosen."""
    choices = declaration.get("choices")
    words = f" ({', '.join(map(str, choices))})" if isinstance(choices, list) else ""
    text = declaration.get("help")
    return f"\n{text or name}{words}\n"
