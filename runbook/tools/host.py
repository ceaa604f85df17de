"""This host: its name, the boot that it is in, and who has which files open there."""

import os
import socket
from pathlib import Path

from runbook.core.events import Machine
from runbook.core.plan import Plan
from runbook.tools import docker


def machine_for(plan: Plan) -> Machine:
    """The host that this process runs on; for a plan with stacks their engine is part of it."""
    has_stack = any(each.kind == "compose" for each in plan.resources.values())
    boots = [boot_id(), *([docker.started_at()] if has_stack else [])]
    return Machine(host=socket.gethostname(), boot_id=" ".join(boots))


def boot_id() -> str:
    """Changes with every boot; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def holders_of(files: set[tuple[int, int]]) -> list[str]:
    """The other processes that have one of these files open, each given by device and inode."""
    own = os.getpid()
    pids = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [
        f"{_process_name(pid)} (pid {pid})" for pid in pids if pid != own and _has_open(pid, files)
    ]


def _has_open(pid: int, wanted: set[tuple[int, int]]) -> bool:
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            status = descriptor.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in wanted:
            return True
    return False


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "a process"
