"""Small step kinds of the tests' own, so that a change in a real kind changes no golden file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from pydantic import BaseModel, Field, model_validator

from runbook.core.plan import Effect, Plan, Rerun
from runbook.facts import EffectFrom
from runbook.kinds import Context, Fraction, Outputs, Resource, ResourceName, Size, Spec, StepKind
from runbook.language.compile import compile_runbook
from runbook.language.inputs import read_inputs
from runbook.registry import Registry
from runbook.resources import (
    MODEL_CONFIG,
    AbsolutePath,
    Directory,
    Duration,
    Git,
    PossiblySecret,
    Process,
    Sqlite,
)


class Nothing(Outputs):
    """No outputs."""


class BackupDb(Spec):
    """Back up a database."""

    database: Resource[Sqlite]
    """The database."""


class Backup(Outputs):
    """A backup."""

    path: str
    """Where it lies."""
    size_bytes: int
    """How large it is."""


class RestoreDb(Spec):
    """Restore a database."""

    database: Resource[Sqlite]
    """The database."""
    phase: Literal["stage", "switch", "all"] = "all"
    """Which part."""


class Expectation(BaseModel):
    """One check."""

    model_config = MODEL_CONFIG

    get: str
    """URL."""
    status: int | list[int] = 200
    """Status."""
    required: bool = True
    """Whether it counts."""
    timeout: Duration = 5.0
    """How long."""


class HttpCheck(Spec):
    """Check a service."""

    checks: list[Expectation] = Field(min_length=1)
    """The checks."""
    error_rate: Fraction = 0.1
    """Tolerated failures."""
    free: Size = 0
    """Bytes."""


class Checked(Outputs):
    """What came of it."""

    ok: bool
    """Whether all is well."""


class RunCommand(Spec):
    """Run a command."""

    argv: list[str] | None = None
    """Program and arguments."""
    script: str | None = None
    """Script text."""
    environment: dict[str, PossiblySecret] = Field(default_factory=dict)
    """Variables."""
    creates: AbsolutePath | None = None
    """Settles doubt."""
    changes: ResourceName | None = None
    """The resource that it changes."""
    probe: list[str] | None = None
    """Settles doubt."""
    effect: Literal["reads", "changes"] = "changes"
    """What it does."""

    @model_validator(mode="after")
    def _has_one_command(self) -> Self:
        if (self.argv is None) == (self.script is None):
            raise ValueError("expected either `argv` or `script`")
        return self


class Assert(Spec):
    """Fail unless something holds."""

    that: bool
    """What must hold."""


class Confirm(Spec):
    """Ask a person."""

    given: bool | None = None
    """The answer."""


class Checkout(Spec):
    """Check out a revision."""

    repository: Resource[Git]
    """The work tree."""
    revision: str
    """The revision."""


class ProcessUp(Spec):
    """Start a process."""

    process: Resource[Process]
    """The process."""
    logs: list[Resource[Directory]] = Field(default_factory=list)
    """Where it logs."""


class LoadRestorePoint(Spec):
    """Load a restore point."""

    point: str | None = None
    """Which."""


class Point(Outputs):
    """A restore point."""

    commit: str
    """The commit."""
    served: bool
    """Whether it was up."""


def _never(_spec: Any, _context: Context) -> Any:
    raise AssertionError("no step runs in these tests")


def _kind(spec: type[Spec], outputs: type[Outputs], **fields: Any) -> StepKind[Any, Any]:
    plain = {
        "effect": Effect.READS,
        "rerun": Rerun.SAFE,
        "describe": lambda _spec: "",
        "run": _never,
    }
    return StepKind(spec=spec, outputs=outputs, **{**plain, **fields})


_CHANGES = {"effect": Effect.CHANGES, "rerun": Rerun.PROBE, "probe": _never}
KINDS: dict[str, StepKind[Any, Any]] = {
    "assert": _kind(Assert, Nothing),
    "backup_db": _kind(BackupDb, Backup, backs_up="database"),
    "checkout": _kind(Checkout, Nothing, **_CHANGES),
    "command": _kind(
        RunCommand, Checked, effect=EffectFrom("effect", default=Effect.CHANGES), rerun=None
    ),
    "confirm": _kind(Confirm, Nothing, retry_forbidden="a person is not asked twice"),
    "http_check": _kind(HttpCheck, Checked),
    "load_restore_point": _kind(LoadRestorePoint, Point),
    "process_up": _kind(ProcessUp, Nothing, holds="process", **_CHANGES),
    "restore_db": _kind(
        RestoreDb, Nothing, destroys="database", **{**_CHANGES, "effect": Effect.DESTROYS}
    ),
}


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The tests' own kinds."""
    return Registry(tuple(sorted(KINDS)), KINDS.__getitem__)


CompileText = Callable[..., Plan]
PROJECT = """
project: shop
secrets: {token: {env: TOKEN}, key: {file: secrets/key}}
resources:
  code: {git: {path: ..}}
  db: {sqlite: {path: ../data/shop.db}}
  uploads: {directory: {path: ../uploads}}
  web:
    process:
      argv: [python3, app.py]
      directory: ..
      environment: {TOKEN: "${{ secrets.token }}"}
"""


@pytest.fixture
def compile_text(tmp_path: Path, registry: Registry) -> CompileText:
    """`compile_text(steps, given=…, environ=…, **files)`: the plan of a runbook in a project."""

    def compile_it(
        text: str,
        *,
        given: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        environment: str | None = None,
        project: str | None = PROJECT,
        **files: str,
    ) -> Plan:
        folder = tmp_path / "runbooks"
        folder.mkdir(exist_ok=True)
        if environment:
            (folder / "environments").mkdir(exist_ok=True)
            (folder / "environments" / f"{environment}.yaml").write_text("{}", encoding="utf-8")
        if project:
            (folder / "project.yaml").write_text(project, encoding="utf-8")
        for name, content in files.items():
            (folder / f"{name}.yaml").write_text(content, encoding="utf-8")
        path = folder / "deploy.yaml"
        path.write_text(text, encoding="utf-8")
        return compile_runbook(
            path,
            registry=registry,
            read=lambda declared: read_inputs(declared, given or {}, environ or {}),
            environment=environment,
        )

    return compile_it
