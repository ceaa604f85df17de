"""Events, with the plans in them, <-> JSON: the wire form in which they are persisted.

Wire forms are versioned and append-only: a field that is added gets a default, and an event that
was ever written stays readable. No secret passes.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin

from runbook.core.events import Event
from runbook.errors import Bug, JournalUnreadable
from runbook.secret import Secret

D = TypeVar("D")
Convert = Callable[[Any, str], Any]
"""Turns a value into another; is told where it stands, for messages."""

EVENT_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
"""Every event by the name that it is persisted under."""
EVENT_VERSIONS: dict[str, int] = dict.fromkeys(EVENT_KINDS, 1)
"""The version that is written today of each; all versions up to it are read."""
_NEWER_HINT = "use the version of runbook that wrote it, or a newer one"


def encode_event(event: Event) -> str:
    """Canonical JSON of an event."""
    kind = type(event).__name__
    return _dump({"kind": kind, "v": EVENT_VERSIONS[kind], **_encode_fields(event, kind)})


def decode_event(text: str) -> Event:
    """The event of that JSON.

    Raises:
        JournalUnreadable: it is not one that this version of the program knows.
    """
    wire = _load(text)
    kind = wire.pop("kind", None)
    if not isinstance(kind, str) or kind not in EVENT_KINDS:
        raise JournalUnreadable(f"there is no event of the kind `{kind}`", hint=_NEWER_HINT)
    _check_version(wire.pop("v", None), EVENT_VERSIONS[kind], f"event `{kind}`")
    return cast(Event, _decode_fields(EVENT_KINDS[kind], wire, kind))


# ASCII, so that text which is not UTF-8 (a file's name) survives as lone surrogates.
_dump = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _load(text: str) -> dict[str, Any]:
    try:
        wire = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise JournalUnreadable("a record of the journal is not JSON") from error
    if not isinstance(wire, dict):
        raise JournalUnreadable("a record of the journal is not a JSON object")
    return wire


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _check_version(version: object, newest: int, what: str) -> None:
    if type(version) is not int or not 1 <= version <= newest:
        raise JournalUnreadable(
            f"{what} has version `{version}`; this program reads 1 to {newest}", hint=_NEWER_HINT
        )


# --- dataclasses ----------------------------------------------------------------------------


@cache
def _forms(kind: type) -> dict[str, tuple[Convert, Convert, bool]]:
    """Of each field: how it is encoded and decoded, and whether it must be there."""
    forms = {}
    for field in fields(kind):
        is_needed = field.default is MISSING and field.default_factory is MISSING
        hint = field.type
        if isinstance(hint, str):
            hint = vars(sys.modules[kind.__module__])[hint]
        forms[field.name] = (*_form(hint), is_needed)
    return forms


def _encode_fields(value: Any, where: str) -> dict[str, Any]:
    return {
        name: encode(getattr(value, name), f"{where}.{name}")
        for name, (encode, _, _) in _forms(cast(Any, type(value))).items()
    }


def _decode_fields(kind: type[D], wire: Any, where: str) -> D:
    if not isinstance(wire, dict):
        raise _misfit(where, "an object", wire)
    forms = _forms(cast(Any, kind))
    for name in wire:
        if name not in forms:
            raise JournalUnreadable(f"there is no field `{where}.{name}`", hint=_NEWER_HINT)
    for name, (_, _, is_needed) in forms.items():
        if is_needed and name not in wire:
            raise JournalUnreadable(f"the field `{where}.{name}` is missing")
    return kind(**{name: forms[name][1](value, f"{where}.{name}") for name, value in wire.items()})


# --- types of fields ------------------------------------------------------------------------


def _form(hint: Any) -> tuple[Convert, Convert]:
    """How a value of that type is encoded and decoded."""
    origin, arguments = get_origin(hint), get_args(hint)
    if NoneType in arguments:
        return _optional(_form(_without_none(hint)))
    if origin is tuple:
        return _tuple(_form(arguments[0]))
    if origin is dict:  # JsonObject
        return _encode_object, _decode_object
    if origin is Mapping:
        return _mapping(_form(arguments[1]))
    if hint is datetime:
        return _encode_datetime, _decode_datetime
    if is_dataclass(hint):
        return _nested(cast(type, hint))
    if issubclass(hint, StrEnum):
        return _word(hint)
    return _plain(hint)


def _without_none(hint: Any) -> Any:
    (rest,) = (argument for argument in get_args(hint) if argument is not NoneType)
    return rest


def _optional(form: tuple[Convert, Convert]) -> tuple[Convert, Convert]:
    encode, decode = form
    return (
        lambda value, where: None if value is None else encode(value, where),
        lambda wire, where: None if wire is None else decode(wire, where),
    )


def _tuple(form: tuple[Convert, Convert]) -> tuple[Convert, Convert]:
    encode, decode = form

    def encode_tuple(value: Any, where: str) -> list[Any]:
        return [encode(item, f"{where}[{index}]") for index, item in enumerate(value)]

    def decode_tuple(wire: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(wire, list):
            raise _misfit(where, "a list", wire)
        return tuple(decode(item, f"{where}[{index}]") for index, item in enumerate(wire))

    return encode_tuple, decode_tuple


def _mapping(form: tuple[Convert, Convert]) -> tuple[Convert, Convert]:
    encode, decode = form

    def encode_mapping(value: Any, where: str) -> dict[str, Any]:
        return {
            _checked_key(key, where): encode(item, f"{where}.{key}") for key, item in value.items()
        }

    def decode_mapping(wire: Any, where: str) -> dict[str, Any]:
        if not isinstance(wire, dict):
            raise _misfit(where, "an object", wire)
        return {key: decode(item, f"{where}.{key}") for key, item in wire.items()}

    return encode_mapping, decode_mapping


def _nested(kind: type) -> tuple[Convert, Convert]:
    def encode_nested(value: Any, where: str) -> dict[str, Any]:
        if type(value) is not kind:
            raise _foreign(where, value)
        return _encode_fields(value, where)

    # Looked up at use, not now: a plan holds a plan.
    return encode_nested, lambda wire, where: _decode_fields(kind, wire, where)


def _word(kind: type[StrEnum]) -> tuple[Convert, Convert]:
    def encode_word(value: Any, where: str) -> str:
        if not isinstance(value, kind):
            raise _foreign(where, value)
        return value.value

    def decode_word(wire: Any, where: str) -> StrEnum:
        try:
            return kind(wire)
        except ValueError as error:
            expected = ", ".join(kind)
            raise JournalUnreadable(
                f"`{where}` is none of {expected}, but `{wire}`", hint=_NEWER_HINT
            ) from error

    return encode_word, decode_word


def _plain(kind: type) -> tuple[Convert, Convert]:
    # JSON has one kind of number: 1.0 may come back as 1, and a whole number may stand for a float.
    accepted: tuple[type, ...] = (float, int) if kind is float else (kind,)

    def encode_plain(value: Any, where: str) -> Any:
        if type(value) not in accepted:
            raise _foreign(where, value)
        return _encode_json(kind(value), where)

    def decode_plain(wire: Any, where: str) -> Any:
        if type(wire) not in accepted:
            raise _misfit(where, kind.__name__, wire)
        return kind(wire)

    return encode_plain, decode_plain


def _encode_datetime(value: Any, where: str) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _foreign(where, value)
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _decode_datetime(wire: Any, where: str) -> datetime:
    if isinstance(wire, str) and wire.endswith("Z"):
        try:
            return datetime.fromisoformat(wire)
        except ValueError as error:
            raise _misfit(where, "a time", wire) from error
    raise _misfit(where, "a time in UTC", wire)


# --- free JSON ------------------------------------------------------------------------------


def _encode_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _foreign(where, value)
    return {
        _checked_key(key, where): _encode_json(item, f"{where}.{key}")
        for key, item in value.items()
    }


def _encode_json(value: Any, where: str) -> Any:
    """The value itself, once it is sure to come back as it went."""
    kind = type(value)
    if value is None or kind in {str, bool, int}:
        return value
    if kind is float and value - value == 0:  # neither infinite nor NaN
        return value
    if kind is list:
        return [_encode_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if kind is dict:
        return _encode_object(value, where)
    raise _foreign(where, value)


def _decode_object(wire: Any, where: str) -> dict[str, Any]:
    if not isinstance(wire, dict):
        raise _misfit(where, "an object", wire)
    return wire


def _checked_key(key: Any, where: str) -> str:
    if type(key) is not str:
        raise _foreign(where, key)
    return key


# --- errors ---------------------------------------------------------------------------------


def _foreign(where: str, value: object) -> Bug:
    if isinstance(value, Secret):
        return Bug(f"a secret was about to be recorded at `{where}`")
    return Bug(f"a value of type `{type(value).__name__}` cannot be recorded at `{where}`")


def _misfit(where: str, expected: str, wire: object) -> JournalUnreadable:
    return JournalUnreadable(f"`{where}` should be {expected}, but is `{wire!r:.60}`")
