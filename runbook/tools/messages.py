"""Messages to people: the only module that knows Apprise, which knows how to reach them.

What an address looks like: https://appriseit.com/services/. It holds its password, and is never
repeated.
"""

import importlib.util
import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

from runbook.errors import ParametersInvalid, SystemRefused

Level = Literal["info", "success", "warning", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """One address that the message did not reach."""

    service: str
    """What kind of address, such as `JSON` or `Slack`."""
    reason: str


def is_installed() -> bool:
    """Whether messages can be sent at all: Apprise is an extra."""
    return importlib.util.find_spec("apprise") is not None


def deliver(addresses: str, *, title: str, body: str, level: Level) -> list[Undelivered]:
    """Send a message to each of these addresses, which stand apart by spaces; where it failed.

    Raises:
        ParametersInvalid: one of them is no address.
        SystemRefused: Apprise is not installed.
    """
    if not is_installed():
        raise SystemRefused(
            "the package that sends messages is not installed",
            hint="pip install 'runbook[notify]'",
            changed=False,
            is_retryable=False,
        )
    import apprise

    targets = [apprise.Apprise.instantiate(address) for address in addresses.split()]
    for number, target in enumerate(targets, 1):
        if target is None:
            raise ParametersInvalid(
                f"address {number} of {len(targets)} is none that Apprise knows",
                hint="see https://appriseit.com/services/; special characters are written as %XX",
                changed=False,
                is_retryable=False,
            )
    return [lost for target in targets if (lost := _send(target, title, body, level))]


def _send(target: Any, title: str, body: str, level: Level) -> Undelivered | None:
    import apprise

    capture = apprise.LogCapture(level=logging.WARNING, fmt="%(message)s")  # type: ignore[no-untyped-call]
    with capture as told:
        one = apprise.Apprise()
        one.add(target)
        if one.notify(title=title, body=body, notify_type=level):
            return None
        reason = re.sub(r"\s+", " ", told.getvalue()).strip()
    return Undelivered(service=str(target.service_name), reason=reason or "no reason was given")
