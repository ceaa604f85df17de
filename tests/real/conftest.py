"""A real engine, stacks of a test's own on it, and a real Context for steps that act on them."""

import hashlib
import json
import subprocess
import textwrap
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runbook.resources import Compose
from tests.conftest import Eventually, is_ci
from tests.real import ground
from tests.real.own_engine import own_engine
from tests.real.postgres_shop import make_shop, server, shop
from tests.real.relay import relay
from tests.real.shop import HAS_FAILED, deployed_shop, idle_shops, new_shop
from tests.steps.conftest import MakeContext, full_disk, make_context, run_and_kill

__all__ = [
    "deployed_shop",
    "full_disk",
    "idle_shops",
    "make_context",
    "make_shop",
    "new_shop",
    "own_engine",
    "relay",
    "run_and_kill",
    "server",
    "shop",
]


@pytest.fixture(scope="session")
def engine() -> None:
    """The ground is there; where it cannot be, CI fails and a test at home is skipped."""
    try:
        ground.set_up()
    except ground.GroundMissing as missing:
        if is_ci():
            raise
        pytest.skip(str(missing))


@dataclass(kw_only=True)
class Project:
    """A Compose project of a test's own; everything of it is gone after the test."""

    root: Path
    project: str

    def compose(self, *words: str) -> str:
        """Compose's own command line, as a person would type it."""
        return self._told(["docker", "compose", "--project-name", self.project, *words])

    def docker(self, *words: str) -> str:
        """The engine's command line."""
        return self._told(["docker", *words])

    def _told(self, argv: list[str]) -> str:
        ended = subprocess.run(argv, cwd=self.root, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{argv}: {ended.stderr}"
        return ended.stdout

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each container of the stack, by service; one-off ones by name."""
        label = f"label=com.docker.compose.project={self.project}"
        ids = self.docker("ps", "--all", "--quiet", "--filter", label).split()
        # One that is gone by now is left out, of which the exit status speaks.
        argv = ["docker", "inspect", *ids]
        inspected = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = json.loads(inspected.stdout) if ids else []
        return {
            each["Name"].lstrip("/")
            if each["Config"]["Labels"].get("com.docker.compose.oneoff") == "True"
            else each["Config"]["Labels"]["com.docker.compose.service"]: each
            for each in found
        }

    def is_running(self, service: str) -> bool:
        """Whether the service's container runs."""
        found = self.containers().get(service)
        return found is not None and bool(found["State"]["Running"])

    def logs(self) -> Iterator[tuple[str, str]]:
        """By container, what it printed last."""
        label = f"label=com.docker.compose.project={self.project}"
        listed = self.docker("ps", "--all", "--format", "{{.Names}}", "--filter", label)
        for name in sorted(listed.split()):
            argv = ["docker", "logs", "--tail", "100", name]
            said = subprocess.run(
                argv,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            yield name, said.stdout.decode("utf-8", "replace")

    def remove(self) -> None:
        """Remove all that bears the project's label."""
        label = f"label=com.docker.compose.project={self.project}"
        for listed, removed in (
            (["ps", "-aq"], ["rm", "-fv"]),
            (["network", "ls", "-q"], ["network", "rm"]),
            (["volume", "ls", "-q"], ["volume", "rm", "-f"]),
        ):
            if found := self.docker(*listed, "--filter", label).split():
                self.docker(*removed, *found)
        self.docker("volume", "rm", "-f", f"{self.project}_runbook")  # the claim bears no label


@dataclass(kw_only=True)
class Stack(Project):
    """A stack, and contexts of steps that act on it."""

    make_context: MakeContext
    eventually: Eventually
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def resource(self) -> Compose:
        """The stack as steps know it."""
        return Compose(
            name="stack",
            project=self.project,
            files=[self.root / "compose.yaml"],
            environment=dict(self.environment),
        )

    def write(self, text: str) -> None:
        """Write its compose file."""
        (self.root / "compose.yaml").write_text(textwrap.dedent(text))

    def create(self, name: str, script: str, *words: str) -> None:
        """A one-off container of service `web`, as a Compose that is killed then leaves it."""
        labels = [
            f"com.docker.compose.project={self.project}",
            "com.docker.compose.service=web",
            "com.docker.compose.oneoff=True",
        ]
        given = [*words, *(word for label in labels for word in ("--label", label))]
        self.docker("create", "--name", name, *given, "runbook-test/python:1", "sh", "-c", script)

    def create_network(self) -> str:
        """A network of the stack; its name."""
        name = f"{self.project}_default"
        label = f"com.docker.compose.project={self.project}"
        self.docker("network", "create", "--label", label, name)
        return name

    def context(self, **fields: Any) -> Any:
        """A step's context that knows the stack."""
        resources = {"stack": self.resource, **fields.pop("resources", {})}
        return self.make_context(resources=resources, **fields)


# --- what containers printed, where a test fails --------------------------------------------


PROJECTS = pytest.StashKey[list[Project]]()


@pytest.fixture
def projects(request: pytest.FixtureRequest) -> list[Project]:
    """What the test has on the engine: should it fail, the report shows their containers' logs."""
    node: pytest.Item = request.node
    return node.stash.setdefault(PROJECTS, [])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed is told with what its containers printed, before they are removed."""
    report = yield
    if report.failed and report.when != "teardown":
        item.stash[HAS_FAILED] = True
        for project in item.stash.get(PROJECTS, []):
            report.sections += [(f"Container {name}", text) for name, text in project.logs()]
    return report


# --- fixtures -------------------------------------------------------------------------------


def project_name(place: Path) -> str:
    """A name that no other test's project has."""
    return f"rbt{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"


def stack_at(root: Path, make_context: MakeContext, eventually: Eventually) -> Stack:
    """A stack whose name is derived from its directory."""
    return Stack(
        root=root,
        project=project_name(root),
        make_context=make_context,
        eventually=eventually,
    )


MakeStack = Callable[[str], Stack]


@pytest.fixture
def make_stack(
    engine: None,
    tmp_path: Path,
    make_context: MakeContext,
    eventually: Eventually,
    projects: list[Project],
) -> Iterator[MakeStack]:
    """`make_stack(text)`: a stack with that compose file."""
    made: list[Stack] = []

    def make(text: str) -> Stack:
        root = tmp_path / f"stack{len(made)}"
        root.mkdir()
        stack = stack_at(root, make_context, eventually)
        stack.write(text)
        made.append(stack)
        projects.append(stack)
        return stack

    yield make
    for stack in made:
        stack.remove()
