"""A rollback on the sample stack: ours, warm and cold, beside a faithful bash script and raw tools.

Same stack, same data, in one run. Each takes the stack from the second release back to the first,
database and files included; a contestant's time counts only if every table, the schema, every
object, every file and the commit are as they were. The stack is shaped as the incumbent's (images
built from source, health checks every 30 s, a process that ignores SIGTERM), but its builds take a
second where the incumbent's take 84 s: that part of the script's time is missing here.

Phase by phase, ours (the steps' times, from the journal) stands beside the best that a skilled
operator could type by hand (raw.sh), which looks at nothing and keeps less of what it replaces.

`python -m benchmarks.rollback.bench [ROUNDS] [ROWS] [OBJECTS]`. Needs a Docker engine and root.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.real import ground
from tests.real.conftest import Project
from tests.real.shop import Shop
from tests.real.world import World

SCRIPT = Path(__file__).with_name("rollback.sh")
RAW = Path(__file__).with_name("raw.sh")
PHASES = ("point", "stage", "stop", "files", "database", "images", "code", "start", "verify")
"""As the steps of rollback.yaml are called."""
POLL_S = 0.05
_SUB_SECOND = re.compile(r"(?<=\d)\d{9}(?= )")
"""As a world tells a file's time, in nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """One rollback."""

    total_s: float
    silent_s: float
    """The longest time in which nothing good was answered."""
    memory_mib: float
    """The largest process of it."""
    disk_mib: float
    """What it left on the disk."""
    phases: Mapping[str, float]
    """By phase, its seconds; empty where nobody has measured them."""


def prepare(shop: Shop, objects: int) -> World:
    """Take the stack to its second release, backed up every way; its world before."""
    shop.make()
    shop.deployed("v1")
    for number in range(objects):
        shop.order(f"object-{number}")
    back_up_as_scripts_do(shop)
    peak_mib_of(shop, by_hand(shop, "backup"))
    before = shop.world()
    shop.deployed("v2")
    shop.order("after")  # what a restore of the files must take away again
    return before


def back_up_as_scripts_do(shop: Shop) -> None:
    """The record, dump and archive that rollback.sh uses."""
    backups = shop.stack.root / "backups"
    backups.mkdir()
    project = shop.stack.project
    dump = f"docker exec {project}-postgres-1 pg_dump -U shop shop | gzip > {backups}/db.sql.gz"
    subprocess.run(["bash", "-o", "pipefail", "-c", dump], check=True)
    volumes = ["-v", f"{project}_minio_data:/data:ro", "-v", f"{backups}:/backup"]
    tar = ["tar", "czf", "/backup/minio.tar.gz", "-C", "/data", "."]
    shop.stack.docker("run", "--rm", *volumes, "runbook-test/python:1", *tar)
    record = {
        "BACKUP_DIR": backups,
        "DB_BACKUP_FILE": backups / "db.sql.gz",
        "GIT_COMMIT": shop.git("rev-parse", "HEAD"),
        "BACKEND_PORT": shop.ports["backend"],
        "FRONTEND_PORT": shop.ports["frontend"],
    }
    lines = "".join(f"{name}={value}\n" for name, value in record.items())
    (shop.repository / ".last-deployment-backup").write_text(lines)
    (shop.repository / ".git" / "info" / "exclude").write_text(".last-deployment-backup\n")


def timed(shop: Shop, contestant: "Contestant") -> Took:
    """Do it while somebody asks all the time."""
    is_over = threading.Event()
    good_at = [time.monotonic()]
    longest = [0.0]

    def ask() -> None:
        while not is_over.is_set():
            if shop.ask("/health", timeout_s=1.0):
                longest[0] = max(longest[0], time.monotonic() - good_at[0])
                good_at[0] = time.monotonic()
            is_over.wait(POLL_S)

    asking = threading.Thread(target=ask)
    asking.start()
    disk_before = size_mib(shop.stack.root)
    began = time.monotonic()
    peak_mib = peak_mib_of(shop, contestant.argv(shop))
    total_s = time.monotonic() - began
    is_over.set()
    asking.join()
    return Took(
        total_s=total_s,
        silent_s=max(longest[0], time.monotonic() - good_at[0]),
        memory_mib=peak_mib,
        disk_mib=size_mib(shop.stack.root) - disk_before,
        phases=contestant.phases(shop),
    )


def size_mib(root: Path) -> float:
    """What a directory takes on the disk."""
    told = subprocess.run(["du", "-sk", str(root)], capture_output=True, text=True, check=True)
    return int(told.stdout.split()[0]) / 1024


def steps_of_last_run(shop: Shop) -> dict[str, float]:
    """By step of ours, the seconds that the journal has."""
    run_id = json.loads(shop.runbook("history", "-o", "json").out)["runs"][0]["id"]
    steps = json.loads(shop.runbook("status", run_id, "-o", "json").out)["steps"]
    return {step["id"]: step["took_s"] or 0.0 for step in steps}


def by_hand(shop: Shop, what: str) -> list[str]:
    """raw.sh: back up or roll back."""
    root = shop.stack.root
    return ["bash", str(RAW), what, shop.stack.project, str(root / "by-hand"), str(root / "phases")]


def phases_by_hand(shop: Shop) -> dict[str, float]:
    """By phase, the seconds that raw.sh has noted."""
    lines = map(str.split, (shop.stack.root / "phases").read_text().splitlines())
    return {name: float(seconds) for name, seconds in lines}


def peak_mib_of(shop: Shop, argv: list[str]) -> float:
    """Run it to its end; the resident memory of its largest process, children included."""
    ports = {f"{name.upper()}_PORT": str(port) for name, port in shop.ports.items()}
    environ = {**os.environ, **shop.environment(), **ports, "SEED_ROWS": str(shop.rows)}
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            argv, cwd=shop.repository, env=environ, stdout=printed, stderr=printed
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        assert process.returncode == 0, printed.read().decode("utf-8", "replace")
    return usage.ru_maxrss / 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One way to roll back."""

    verify: str
    """How the deploy before seals its restore point."""
    argv: Callable[[Shop], list[str]]
    phases: Callable[[Shop], Mapping[str, float]] = lambda _shop: {}
    """By phase, the seconds that it took."""


def ours(_shop: Shop) -> list[str]:
    """`runbook rollback`."""
    return [sys.executable, "-m", "runbook", "rollback", "--set", "data=restore", "--yes"]


CONTESTANTS = {
    "runbook, warm": Contestant(verify="restore", argv=ours, phases=steps_of_last_run),
    "runbook, cold": Contestant(verify="read_back", argv=ours, phases=steps_of_last_run),
    "by hand, raw.sh": Contestant(
        verify="checksum", argv=lambda shop: by_hand(shop, "rollback"), phases=phases_by_hand
    ),
    "rollback.sh": Contestant(
        verify="checksum", argv=lambda shop: ["bash", str(SCRIPT), shop.stack.project]
    ),
}


def compared(world: World) -> tuple[object, ...]:
    """What a contestant must bring back: all but what rollback.sh loses.

    That is settings of databases, and of files' times what is below a second.
    """
    settings = re.compile(r"--|ALTER (DATABASE|ROLE .* IN DATABASE) .* SET ")
    lines = {line for line in world.schema.splitlines() if not settings.match(line)}
    files = {path: _SUB_SECOND.sub("", told) for path, told in world.files.items()}
    return world.tables, lines, world.commit, world.objects, files


def round_of(number: int, name: str, rows: int, objects: int) -> Took:
    """One rollback of that contestant, on a stack of its own."""
    contestant = CONTESTANTS[name]
    with tempfile.TemporaryDirectory(prefix="runbook-bench-") as made:
        project = f"rbbench{os.getpid()}n{number}"
        stack = Project(root=Path(made), project=project)
        shop = Shop(stack=stack, rows=rows, verify=contestant.verify, grace="10s")
        try:
            before = prepare(shop, objects)
            took = timed(shop, contestant)
            after = shop.world()
            assert compared(after) == compared(before), name
        finally:
            shop.remove()
            shutil.rmtree(made, ignore_errors=True)
            Path(made).mkdir(exist_ok=True)
    return took


def main(rounds: int, rows: int, objects: int) -> None:
    """Print medians and ratios."""
    ground.set_up()
    results: dict[str, list[Took]] = {name: [] for name in CONTESTANTS}
    for number in range(rounds):
        order = list(CONTESTANTS) if number % 2 == 0 else list(reversed(CONTESTANTS))
        for name in order:
            results[name].append(round_of(number, name, rows, objects))
            print(f"round {number + 1}: {name}: {results[name][-1].total_s:.1f} s", flush=True)
    print(f"\nrollback of {rows} rows and {objects} objects, medians of {rounds}")
    print(f"{'':16}{'total':>9}{'silent':>9}{'memory':>10}{'disk':>10}")
    for name, found in results.items():
        medians = [
            statistics.median(getattr(each, part) for each in found)
            for part in ("total_s", "silent_s", "memory_mib", "disk_mib")
        ]
        total_s, silent_s, memory, disk = medians
        print(f"{name:16}{total_s:7.1f} s{silent_s:7.1f} s{memory:6.0f} MiB{disk:6.0f} MiB")
    base = statistics.median(each.total_s for each in results["rollback.sh"])
    for name in ("runbook, warm", "runbook, cold"):
        ratio = base / statistics.median(each.total_s for each in results[name])
        print(f"{name}: {ratio:.1f} times as fast as the script")
    print_phases(results)


def print_phases(results: Mapping[str, list[Took]]) -> None:
    """Ours beside the raw tools, and how many times as long it takes."""
    names = ("runbook, warm", "runbook, cold", "by hand, raw.sh")

    def median_s(name: str, phase: str) -> float:
        return statistics.median(each.phases.get(phase, 0.0) for each in results[name])

    print(f"\n{'phase':10}" + "".join(f"{name:>18}" for name in names) + f"{'warm : raw':>14}")
    for phase in PHASES:
        warm_s, cold_s, raw_s = (median_s(name, phase) for name in names)
        ratio = f"{warm_s / raw_s:.1f}" if raw_s else "-"
        print(f"{phase:10}{warm_s:16.2f} s{cold_s:16.2f} s{raw_s:16.2f} s{ratio:>14}")
    rest = [
        statistics.median(
            each.total_s - sum(each.phases.get(phase, 0.0) for phase in PHASES)
            for each in results[name]
        )
        for name in names
    ]
    print(f"{'the rest':10}" + "".join(f"{rest_s:16.2f} s" for rest_s in rest))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*[*given, *(5, 200_000, 200)[len(given) :]])
