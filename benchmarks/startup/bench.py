"""What starting costs: CPU time and memory of short commands, beside what they are made of.

All in one run, in turns, so that a busy machine is busy for each alike. `python` alone and with its
libraries are the floor: what no rewriting of `runbook` can save. Memory has a floor of its own:
Linux counts what this process held when it started the other (getrusage(2), ru_maxrss).
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

QUICKSTART = Path(__file__).parents[2] / "runbooks" / "quickstart" / "deploy.yaml"
LEAST_ROUNDS = 7
_KIB_PER_MIB = 1024
_BARE, _LIBRARIES = "python", "python + libraries"


@dataclass(frozen=True, slots=True)
class Subject:
    """A command that is measured."""

    name: str
    argv: list[str]
    cpu_ms: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)

    def measure(self, *, is_kept: bool) -> None:
        """Run it once; user and system time of the whole process, and its peak memory."""
        pid = os.posix_spawn(sys.executable, self.argv, os.environ, file_actions=_SILENT)
        _pid, status, usage = os.wait4(pid, 0)
        if status != 0:
            code = os.waitstatus_to_exitcode(status)
            raise SystemExit(f"`{self.name}` ended with exit code {code}, expected 0")
        if is_kept:
            self.cpu_ms.append((usage.ru_utime + usage.ru_stime) * 1000)
            self.memory_mib.append(usage.ru_maxrss / _KIB_PER_MIB)


_SILENT = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]


def subjects(state_dir: str) -> list[Subject]:
    """The commands, and what they are compared with."""
    python = sys.executable
    runbook = [python, "-m", "runbook"]
    imports = "import click, yaml, jsonschema, jinja2"
    return [
        Subject(_BARE, [python, "-c", "pass"]),
        Subject(_LIBRARIES, [python, "-c", imports]),
        Subject("runbook --version", [*runbook, "--version"]),
        Subject("runbook validate", [*runbook, "validate", str(QUICKSTART)]),
        Subject("runbook status", [*runbook, "status", "--state-dir", state_dir]),
    ]


def report(measured: list[Subject]) -> str:
    """A table: medians, minima, and how often the floor each one costs."""
    floor = {each.name: median(each.cpu_ms) for each in measured}
    columns = ("median", "least", "median", "least")
    heads = " ".join(f"{column:>8}" for column in columns)
    lines = [
        f"{'':20} {'CPU ms':>17} {'memory MiB':>17} {'CPU, times':>21}",
        f"{'':20} {heads} {'python':>10} {'libraries':>10}",
    ]
    for each in measured:
        cpu_ms = median(each.cpu_ms)
        lines.append(
            f"{each.name:20} {cpu_ms:8.1f} {min(each.cpu_ms):8.1f}"
            f" {median(each.memory_mib):8.1f} {min(each.memory_mib):8.1f}"
            f" {cpu_ms / floor[_BARE]:10.2f} {cpu_ms / floor[_LIBRARIES]:10.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help=f"at least {LEAST_ROUNDS}")
    rounds = max(LEAST_ROUNDS, parser.parse_args().rounds)
    with tempfile.TemporaryDirectory() as state_dir:
        measured = subjects(state_dir)
        for number in range(rounds + 1):
            for each in measured:
                # The first round fills caches: the disk's, and Python's own.
                each.measure(is_kept=number > 0)
    print(f"startup: {rounds} rounds in turns, user + system time, peak resident memory\n")
    print(report(measured))


if __name__ == "__main__":
    main()
