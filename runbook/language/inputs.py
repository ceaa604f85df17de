"""Inputs: what a declaration means, and how values that people and variables give are read by it.

Precedence, low to high: default, the input's own variable, `--set`.
"""

import math
import re
from collections.abc import Callable, Mapping
from shlex import quote
from typing import Any

from runbook.core.plan import SENSITIVE_INPUT, Json, JsonObject, Plan
from runbook.errors import InputError
from runbook.language.diagnostics import count, did_you_mean, one_of
from runbook.language.patterns import matches
from runbook.secret import Secret
from runbook.units import parse_duration_s, parse_fraction, parse_size_bytes

INPUT_TYPES = (
    *("string", "integer", "number", "fraction", "boolean"),
    *("duration", "bytes", "choice", "path", "url"),
)
TEXT_TYPES = ("string", "choice", "path", "url")
"""They may have `choices` and a `pattern`."""
NUMBER_TYPES = ("integer", "number", "fraction", "duration", "bytes")
"""They may have bounds."""
_BOOLEANS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def read_inputs(
    declarations: JsonObject,
    given: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    may_lack: bool = False,
) -> JsonObject:
    """Every input's value; sensitive ones are left out, as they are read as secrets, if set.

    Those that are missing are left out, too, if the plan is one to look at: `may_lack`.

    Raises:
        InputError: names everything that is missing, unknown or of another type.
    """
    values: JsonObject = {}
    problems = _refuse_given(declarations, given)
    missing: list[str] = []
    for name, declaration in _declared(declarations).items():
        text, origin = _text_for(name, declaration, given, environ)
        if declaration.get("sensitive"):
            if text is None and declaration.get("required", True):
                missing.append(name)
            elif text is not None and (unfit := misfit(declaration, text)):
                problems.append(f"input `{name}` ({origin}): {unfit}")
            continue
        if text is not None:
            try:
                values[name] = parse_text(declaration, text)
            except ValueError as error:
                problems.append(f"input `{name}` ({origin}): {error}")
        elif "default" in declaration:
            values[name] = check_value(declaration, declaration["default"])
        elif declaration.get("required", True):
            missing.append(name)
        else:
            values[name] = None
    _raise_all(declarations, [] if may_lack else missing, problems)
    return values


def check_inputs(
    declarations: JsonObject, values: Mapping[str, Any], *, may_lack: bool = False
) -> JsonObject:
    """Every input's value, given values that an expression computed, defaults filled in.

    Those that are missing are left out if the plan is one to look at: `may_lack`.

    Raises:
        InputError: names everything that is missing, unknown or of another type.
    """
    checked: JsonObject = {}
    problems = [f"there is no input `{name}`" for name in values if name not in declarations]
    missing: list[str] = []
    for name, declaration in _declared(declarations).items():
        if declaration.get("sensitive"):
            continue
        value = values.get(name, declaration.get("default"))
        if isinstance(value, Secret):
            problems.append(f"input `{name}` must not hold a secret")
        elif value is not None:
            try:
                checked[name] = check_value(declaration, value)
            except ValueError as error:
                problems.append(f"input `{name}`: {error}")
        elif declaration.get("required", True):
            missing.append(name)
        else:
            checked[name] = None
    _raise_all(declarations, [] if may_lack else missing, problems)
    return checked


def misfit(declaration: JsonObject, text: str, *, is_hidden: bool = True) -> str | None:
    """Why an input does not take a text, which is not quoted if it is hidden; absent: it does."""
    try:
        parse_text(declaration, text)
    except ValueError as error:
        said = str(error)
        return f"{said.partition(', found ')[0]}, found another value" if is_hidden else said
    return None


def sensitive_inputs(plan: Plan) -> JsonObject:
    """The declarations of the inputs of a plan and of its rollback that are secrets."""
    plans = [plan.on_failure.plan, plan] if plan.on_failure else [plan]
    return {
        name: declaration
        for each in plans
        for name, declaration in _declared(each.input_types).items()
        if declaration.get("sensitive")
    }


def check_sensitive(plan: Plan, secrets: Mapping[str, Secret]) -> None:
    """Check what was fetched for sensitive inputs against their declarations.

    Raises:
        InputError: names all that do not fit, and quotes none.
    """
    declarations = sensitive_inputs(plan)
    problems = [
        f"input `{name}` ({declaration.get('env')}): {unfit}"
        for name, declaration in _declared(declarations).items()
        if (secret := secrets.get(SENSITIVE_INPUT + name))
        and (unfit := misfit(declaration, secret.reveal()))
    ]
    _raise_all(declarations, [], problems)


def recorded_inputs(declarations: JsonObject, recorded: JsonObject) -> JsonObject:
    """Every input's value as a run has recorded it; what is declared no more is left out."""
    known = {name: value for name, value in recorded.items() if name in declarations}
    return check_inputs(declarations, known)


def declared_defaults(declarations: JsonObject) -> JsonObject:
    """The value of every input that has a default and is not sensitive."""
    return {
        name: check_value(declaration, declaration["default"])
        for name, declaration in _declared(declarations).items()
        if "default" in declaration and not declaration.get("sensitive")
    }


def parse_text(declaration: JsonObject, text: str) -> Json:
    """The value of a text by an input's declaration; raises ValueError."""
    value: Json = text
    match declaration.get("type"):
        case "integer":
            if not re.fullmatch(r"[-+]?[0-9]{1,300}", text):
                raise ValueError(f"expected a whole number, found `{text}`")
            value = int(text)
        case "number":
            if not re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?", text):
                raise ValueError(f"expected a number, found `{text}`")
            value = float(text)
            if math.isinf(value):
                raise ValueError(f"expected a number that is not so large, found `{text}`")
        case "boolean":
            if text.lower() not in _BOOLEANS:
                raise ValueError(f"expected yes, no, true, false, 1 or 0, found `{text}`")
            value = _BOOLEANS[text.lower()]
        case _:
            pass
    return check_value(declaration, value)


def check_value(declaration: JsonObject, value: Json) -> Json:
    """A typed value by an input's declaration, normalised; raises ValueError."""
    kind = str(declaration.get("type"))
    if kind in _MEASURES:
        return _bounded(declaration, measure(kind, value))
    if kind == "boolean":
        if not isinstance(value, bool):
            raise ValueError(f"expected true or false, found `{value}`")
        return value
    if kind in ("integer", "number"):
        is_whole = kind == "integer"
        if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
            raise ValueError(f"expected a {'whole ' * is_whole}number, found `{value}`")
        return _bounded(declaration, value)
    if not isinstance(value, str):
        raise ValueError(f"expected a string, found `{value}`")
    return _checked_text(declaration, kind, value)


def _checked_text(declaration: JsonObject, kind: str, text: str) -> str:
    choices = declaration.get("choices")
    if isinstance(choices, list) and choices and text not in choices:
        raise ValueError(f"expected {one_of(map(str, choices))}, found `{text}`")
    if kind == "url" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s]+", text):
        raise ValueError(f"expected a URL such as https://example.org, found `{text}`")
    if kind == "path" and (not text or "\0" in text):
        raise ValueError("expected a path, found nothing")
    pattern = declaration.get("pattern")
    if isinstance(pattern, str) and not matches(pattern, text):
        raise ValueError(f"expected text that matches `{pattern}`, found `{text}`")
    return text


_MEASURES: dict[str, Callable[[str], float]] = {
    "duration": parse_duration_s,
    "bytes": parse_size_bytes,
    "fraction": parse_fraction,
}


def measure(kind: str, value: Json) -> float:
    """What a value means as a `duration`, as `bytes` or as a `fraction`; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a {kind}, found `{value}`")
    measured = _MEASURES[kind](str(value))
    return int(measured) if kind != "fraction" and measured == int(measured) else measured


def _bounded(declaration: JsonObject, value: float) -> float:
    kind = str(declaration.get("type"))
    for key in ("minimum", "maximum"):
        if key not in declaration:
            continue
        bound = declaration[key]
        limit = measure(kind, bound) if kind in _MEASURES else bound
        if not isinstance(limit, int | float):
            continue
        if value < limit if key == "minimum" else value > limit:
            least = "least" if key == "minimum" else "most"
            raise ValueError(f"expected at {least} `{bound}`, found `{value}`")
    return value


def _text_for(
    name: str, declaration: JsonObject, given: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[str | None, str]:
    """What is given for an input, and by what."""
    if name in given:
        return given[name], "--set"
    variable = str(declaration.get("env") or "")
    if variable and environ.get(variable, "") != "":
        return environ[variable], variable
    return None, ""


def _refuse_given(declarations: JsonObject, given: Mapping[str, str]) -> list[str]:
    problems = []
    declared = _declared(declarations)
    for name in given:
        if name not in declared:
            hint = did_you_mean(name, declared)
            problems.append(f"there is no input `{name}`" + (f"; {hint}" if hint else ""))
        elif declared[name].get("sensitive"):
            problems.append(
                f"input `{name}` is sensitive and must not be given by --set:"
                f" set the variable `{declared[name].get('env')}`"
            )
    return problems


def _raise_all(declarations: JsonObject, missing: list[str], problems: list[str]) -> None:
    if not missing and not problems:
        return
    parts = list(problems)
    hint = None
    if missing:
        noun = "input is" if len(missing) == 1 else "inputs are"
        parts.append(f"{len(missing)} {noun} missing: {', '.join(missing)}")
        hint = _how_to_give(declarations, missing)
    message = "; ".join(parts) if len(parts) == 1 or missing else count(len(parts), "problem")
    if len(problems) > 1 and not missing:
        message = "; ".join(problems)
    raise InputError(message, hint=hint)


def _how_to_give(declarations: JsonObject, missing: list[str]) -> str:
    """What to add to the command line and, for what must not stand there, to export."""
    declared = {name: _declared(declarations)[name] for name in missing}
    hidden = [str(each.get("env")) for each in declared.values() if each.get("sensitive")]
    chosen, free = [], []
    for name, declaration in declared.items():
        if declaration.get("sensitive"):
            continue
        flags = [f"--set {name}={quote(sample)}" for sample in _samples(declaration)]
        if len(flags) == 1:
            free += flags
        else:
            # Whichever stood here alone would be pasted unread.
            meaning = f": {declaration['help']}" if declaration.get("help") else ""
            chosen.append(f"add {' or '.join(flags)}{meaning}")
    lines = [f"add {' '.join(free)}"] if free else []
    lines += chosen
    if hidden:
        lines.append("export " + " ".join(f"{variable}=…" for variable in hidden))
    return "\n".join(lines)


def _samples(declaration: JsonObject) -> list[str]:
    """Values as they might be typed; several where one must be chosen."""
    choices = declaration.get("choices")
    if isinstance(choices, list) and choices:
        return [str(choice) for choice in choices]
    kind = str(declaration.get("type"))
    if kind == "boolean":
        return ["yes", "no"]
    return [{"duration": "10m", "bytes": "1GB", "fraction": "0.10"}.get(kind, kind.upper())]


def _declared(declarations: JsonObject) -> dict[str, JsonObject]:
    return {name: item for name, item in declarations.items() if isinstance(item, dict)}
