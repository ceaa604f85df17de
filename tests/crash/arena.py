"""Where the program is killed: a workspace that is put back to the same start for every trial.

Runs record absolute paths, so the workspace always lies at the same place, and what it was at a
trial's start is copied there.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from runbook.cli.demo import make_workspace
from runbook.resources import Process
from runbook.tools import daemon
from tests.conftest import Eventually
from tests.crash.building import count_effects
from tests.crash.driver import Order
from tests.crash.scenarios import DEPLOY, QUICK, Scenario
from tests.crash.world import (
    Workspace,
    World,
    effects_of,
    kill,
    leftovers_of,
    observe,
    processes_of,
    release_of,
    repeated_steps,
    runs_of,
    was_resumed,
)

LASTS_AT_MOST_S = 60.0

LANES = 2
"""Trials that one worker runs at once: most of each is waiting."""

Kill = Callable[["Driven"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What an undisturbed run does."""

    world: World
    effects: Counter[str]
    lasts_s: float


class Driven:
    """A process of the program, until it has ended."""

    def __init__(self, pid: int, wait: Callable[[], int]) -> None:
        self.pid = pid
        self._wait = wait
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._pidfd = -1

    def kill_after(self, seconds: float, *, whole_group: bool) -> None:
        """Let it live that long at most; SIGKILL is for it alone, or for its whole group."""
        if self._pidfd < 0 or select.select([self._pidfd], [], [], seconds)[0]:
            return
        with suppress(ProcessLookupError):
            if whole_group:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit status, or minus the signal that ended it; one that hangs is killed."""
        self.kill_after(LASTS_AT_MOST_S, whole_group=True)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        return self._wait()


@dataclass(kw_only=True)
class Arena:
    """One workspace and the driver of its program."""

    home: Path
    workspace: Workspace
    eventually: Eventually
    is_spoiled: bool = False
    """A trial has failed here: what it left is to be looked at."""
    _driver: "subprocess.Popen[str]"
    _courses: dict[str, Course] = field(default_factory=dict)

    @classmethod
    def build(cls, eventually: Eventually) -> "Arena":
        """An arena whose workspace has seen v1 deployed, and then v2, by the program itself."""
        # In memory: a kill does not lose what was written, so the disk would only cost time.
        home = Path(tempfile.mkdtemp(prefix="runbook-crash-", dir="/dev/shm"))
        tmpfs = home / "tmpfs"
        tmpfs.mkdir(mode=0o700)
        root = home / "workspace"
        root.mkdir()
        make_workspace(root, is_bad=False)
        port = count_effects(root)
        arena = cls(
            home=home,
            workspace=Workspace(root=root, port=port, tmpfs=tmpfs),
            eventually=eventually,
            _driver=_start_driver(home, tmpfs),
        )
        arena._deploy_templates()
        return arena

    def _deploy_templates(self) -> None:
        deploy_v1 = Scenario(
            name="", start="v1", command="run", given={"revision": "v1"} | QUICK, exit_status=0
        )
        assert self.drive(deploy_v1).wait() == 0, self.tell()
        self._keep_as("v1")
        with self.trial(DEPLOY):
            assert self.drive(DEPLOY).wait() == 0, self.tell()
            write(self.workspace, "written-after-the-deploy")
            (self.workspace.uploads / "picture-03.txt").write_text("changed after the deploy")
            (self.workspace.uploads / "picture-04.txt").unlink()
            self._keep_as("v2")

    def _keep_as(self, release: str) -> None:
        self.stop_everything()
        shutil.copytree(self.workspace.root, self.home / release, symlinks=True)

    def close(self) -> None:
        """Leave nothing behind, but for a workspace that is to be looked at."""
        self.stop_everything()
        with self._driver as driver:
            assert driver.stdin is not None
            driver.stdin.close()
        if not self.is_spoiled:
            shutil.rmtree(self.home)

    # --- trials ---------------------------------------------------------------------------

    @contextmanager
    def trial(self, scenario: Scenario) -> Iterator["Trial"]:
        """The workspace as it is before the scenario, its release serving; stopped afterwards."""
        self.stop_everything()
        root = self.workspace.root
        shutil.rmtree(root)
        shutil.copytree(self.home / scenario.start, root, symlinks=True)
        (self.home / "output.log").unlink(missing_ok=True)
        trial: Trial | None = None
        try:
            self._serve()
            trial = Trial(
                arena=self,
                scenario=scenario,
                effects_before=effects_of(self.workspace),
                runs_before=len(runs_of(self.workspace)),
                world_before=observe(self.workspace),
            )
            yield trial
        except BaseException as error:
            self.is_spoiled = True
            about = trial.about if trial else scenario.name
            error.add_note(f"{about}\nthe workspace is kept: {root}\n{self.tell()}")
            raise
        finally:
            self.stop_everything()

    def course_of(self, scenario: Scenario) -> Course:
        """What the scenario does undisturbed; tried once."""
        if scenario.name not in self._courses:
            with self.trial(scenario) as trial:
                began_at = time.monotonic()
                assert self.drive(scenario).wait() == scenario.exit_status
                lasts_s = time.monotonic() - began_at
                self.await_one_server()
                assert leftovers_of(self.workspace) == []
                self._courses[scenario.name] = Course(
                    world=observe(self.workspace), effects=trial.effects(), lasts_s=lasts_s
                )
        return self._courses[scenario.name]

    def _serve(self) -> None:
        process = Process(
            name="web",
            argv=["python3", "server.py"],
            directory=self.workspace.root / "shop",
            environment={
                "PORT": str(self.workspace.port),
                "DATABASE": "../data/shop.db",
                "UPLOADS": "../data/uploads",
            },
        )
        daemon.start(
            process,
            state_dir=self.workspace.state_dir,
            project="shop",
            operation="a deploy before the trial",
            environ=_environment(self.home, self.workspace.tmpfs),
        )
        self.eventually(lambda: release_of(self.workspace), "the shop serves")

    def stop_everything(self) -> None:
        """No process of the workspace is left."""
        while found := processes_of(self.workspace):
            for pid in found:
                kill(self.workspace, pid)
            self.eventually(lambda: not _alive(found), "whoever is killed ends")

    def await_one_server(self) -> None:
        """Whoever is about to end has ended."""
        self.eventually(
            lambda: len(processes_of(self.workspace)) == 1,
            "one process of the workspace lives",
            within_s=30.0,
        )

    def tell(self) -> str:
        """What the program printed."""
        output = self.home / "output.log"
        return output.read_text()[-6000:] if output.exists() else ""

    # --- commands -------------------------------------------------------------------------

    def drive(
        self,
        scenario: Scenario,
        *,
        dies_at: int | None = None,
        moment: Literal["before", "after"] = "before",
    ) -> Driven:
        """Start the scenario's command; with `dies_at` it kills itself at that journal write."""
        path = self.workspace.root / "runbooks" / "deploy.yaml"
        runbook = str(path) if scenario.command == "run" else None
        return self.order(
            Order(
                command=scenario.command,
                state_dir=str(self.workspace.state_dir),
                output=str(self.home / "output.log"),
                runbook=runbook,
                given=scenario.given,
                dies_at=dies_at,
                moment=moment,
            )
        )

    def resume(self) -> Driven:
        """Start a plain `runbook resume`."""
        return self._plain("resume", "output.log")

    def unfinished(self) -> list[object]:
        """What `runbook status` says is unfinished."""
        answer = self.home / "status.json"
        answer.unlink(missing_ok=True)
        assert self._plain("status", answer.name).wait() == 0, answer.read_text()
        unfinished: list[object] = json.loads(answer.read_text())["unfinished"]
        return unfinished

    def _plain(self, command: Literal["resume", "status"], output: str) -> Driven:
        state_dir = str(self.workspace.state_dir)
        output = str(self.home / output)
        return self.order(Order(command=command, state_dir=state_dir, output=output, given={}))

    def order(self, order: Order) -> Driven:
        """Start what is ordered."""
        assert self._driver.stdin is not None
        print(json.dumps(asdict(order)), file=self._driver.stdin, flush=True)
        return Driven(self._answer(), self._answer)

    def _answer(self) -> int:
        assert self._driver.stdout is not None
        return int(self._driver.stdout.readline())


@dataclass(kw_only=True)
class Trial:
    """One start of a scenario, and what may become of it."""

    arena: Arena
    scenario: Scenario
    effects_before: Counter[str]
    runs_before: int
    world_before: World
    about: str = ""
    """What is done to it, for whoever reads of its failure."""

    def effects(self) -> Counter[str]:
        """What was done since."""
        return effects_of(self.arena.workspace) - self.effects_before

    def resume_to_the_end(self, *, killed_again: Kill | None = None) -> None:
        """Resume, perhaps to be killed once more, and compare with an undisturbed run."""
        resumed = self.arena.resume()
        if killed_again is not None:
            killed_again(resumed)
        status = resumed.wait()
        if killed_again is not None and status == -signal.SIGKILL:
            status = self.arena.resume().wait()
        self.arena.await_one_server()
        self._check(status)

    def _check(self, status: int) -> None:
        workspace = self.arena.workspace
        runs = runs_of(workspace)[self.runs_before :]
        course = self.arena.course_of(self.scenario)
        statuses = {self.scenario.exit_status}
        if not runs:
            course = Course(world=self.world_before, effects=Counter(), lasts_s=0)
            statuses = {0}
        elif not was_resumed(runs[-1]):
            # Killed after its last write, it left nothing to resume.
            statuses |= {0}
        expect("exit status", status if status not in statuses else statuses, statuses)
        expect("effects", self.effects(), course.effects)
        expect("world", asdict(observe(workspace)), asdict(course.world))
        expect("left over", leftovers_of(workspace), [])
        expect("repeated steps", [step for run in runs for step in repeated_steps(run)], [])
        expect("unfinished", self.arena.unfinished(), [])


def expect(what: str, found: object, wanted: object) -> None:
    """Fail where they differ, saying in what: pytest explains asserts in test modules only."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = [
            name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
        ]
        found, wanted = ({name: side.get(name) for name in names} for side in (found, wanted))
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, expected {wanted!r}")


def on_every_lane(arenas: Sequence[Arena], work: Callable[[Arena, int], None]) -> None:
    """Do the work in all arenas at once, each told its lane; raises what any of them raises."""
    with ThreadPoolExecutor(len(arenas)) as lanes:
        done = [lanes.submit(work, arena, lane) for lane, arena in enumerate(arenas)]
    failures = [failure for future in done if isinstance(failure := future.exception(), Exception)]
    if failures:
        raise ExceptionGroup("on one or more lanes", failures)


def write(workspace: Workspace, name: str) -> bool:
    """Have the shop write a file and a row of that name; whether it said that it did."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection("127.0.0.1", workspace.port, timeout=5)
    try:
        connection.request("POST", "/items", json.dumps({"name": name}))
        return connection.getresponse().status == 201
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _alive(pids: Mapping[int, str]) -> bool:
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                return True
    return False


# --- starting ---------------------------------------------------------------------------------


def _start_driver(home: Path, tmpfs: Path) -> "subprocess.Popen[str]":
    # By this name every command finds the interpreter itself, and no slow shim in front of it.
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    return subprocess.Popen(
        [sys.executable, "-m", "tests.crash.driver"],
        cwd=Path(__file__).parents[2],
        env=_environment(home, tmpfs),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _environment(home: Path, tmpfs: Path) -> dict[str, str]:
    return {
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "USER": "tester",
        "XDG_RUNTIME_DIR": str(tmpfs),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
