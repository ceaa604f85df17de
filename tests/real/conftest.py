"""A real engine, stacks of a test's own on it, and a real Context for steps that act on them."""

import hashlib
import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runbook.resources import Compose
from tests.conftest import Eventually, is_ci
from tests.real import ground
from tests.real.postgres_shop import make_shop, server, shop
from tests.steps.conftest import MakeContext, full_disk, make_context, run_and_kill

__all__ = ["full_disk", "make_context", "make_shop", "run_and_kill", "server", "shop"]


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
class Stack:
    """A compose stack of a test's own; everything of it is gone after the test."""

    root: Path
    project: str
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

    def context(self, **fields: Any) -> Any:
        """A step's context that knows the stack."""
        resources = {"stack": self.resource, **fields.pop("resources", {})}
        return self.make_context(resources=resources, **fields)

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

    def remove(self) -> None:
        """Remove all that bears the project's label."""
        label = f"label=com.docker.compose.project={self.project}"
        for kind, listed, removed in (
            ("container", ["ps", "-aq"], ["rm", "-fv"]),
            ("network", ["network", "ls", "-q"], ["network", "rm"]),
            ("volume", ["volume", "ls", "-q"], ["volume", "rm", "-f"]),
        ):
            if found := self.docker(*listed, "--filter", label).split():
                assert kind
                self.docker(*removed, *found)
        self.docker("volume", "rm", "-f", f"{self.project}_runbook")  # the claim bears no label


def stack_at(root: Path, make_context: MakeContext, eventually: Eventually) -> Stack:
    """A stack whose name is derived from its directory."""
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    return Stack(
        root=root, project=f"rbt{digest}", make_context=make_context, eventually=eventually
    )


MakeStack = Callable[[str], Stack]


@pytest.fixture
def make_stack(
    engine: None, tmp_path: Path, make_context: MakeContext, eventually: Eventually
) -> Iterator[MakeStack]:
    """`make_stack(text)`: a stack with that compose file."""
    made: list[Stack] = []

    def make(text: str) -> Stack:
        root = tmp_path / f"stack{len(made)}"
        root.mkdir()
        stack = stack_at(root, make_context, eventually)
        stack.write(text)
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.remove()
