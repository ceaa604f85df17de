"""This host: its name, and the boot that it is in."""

import socket
from pathlib import Path

from runbook.core.events import Machine


def this_machine() -> Machine:
    """The host that this process runs on."""
    return Machine(host=socket.gethostname(), boot_id=boot_id())


def boot_id() -> str:
    """Changes with every boot; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
