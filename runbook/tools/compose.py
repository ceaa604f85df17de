"""Docker Compose v2 by its command line: commands as pure functions, and the model it makes.

Never `--yes` (it would delete data without asking), never `-v`, always detached. What the engine
can tell or do by itself: docker.py and containers.py.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runbook.errors import Unfit
from runbook.resources import Compose
from runbook.secret import Secret
from runbook.tools.process import Command, Completed, output

OLDEST = (2, 20)
"""The first release that has all the options used here."""
_READ_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service of a stack, as far as steps need it."""

    name: str
    image: str
    """The name that its containers' image is looked up by."""
    is_built: bool
    """Whether Compose builds the image."""
    restart: str = "no"
    """`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`, as Compose sets it."""
    replicas: int = 1
    needs: Mapping[str, str] = field(default_factory=dict)
    """What it depends on, with Compose's word for the condition."""
    is_prepared: bool = False
    """Whether Compose puts something into its containers whenever it starts them."""


# --- commands -------------------------------------------------------------------------------


def command(stack: Compose, *words: str) -> Command:
    """`docker compose` on that stack, whatever the directory and the environment are."""
    files = [word for file in stack.files for word in ("--file", str(file))]
    variables = [word for file in stack.env_files for word in ("--env-file", str(file))]
    profiles = [word for name in stack.profiles for word in ("--profile", name)]
    directory = stack.directory or stack.files[0].parent
    return Command(
        argv=(
            *("docker", "compose", "--ansi", "never", "--progress", "plain"),
            *("--project-name", stack.project, "--project-directory", str(directory)),
            *(*files, *variables, *profiles, *words),
        ),
        environment=stack.environment,
    )


def create(stack: Compose, services: Sequence[str], *, build: bool) -> Command:
    """Make these services' containers what the files say, replace those that differ, start none."""
    images = ("--build",) if build else ("--no-build", "--pull", "never")
    return command(stack, "create", *images, *services)


def create_anew(stack: Compose, services: Sequence[str]) -> Command:
    """Replace these services' containers although they are what the files say; start none."""
    return command(stack, "create", "--no-build", "--pull", "never", "--force-recreate", *services)


def start(stack: Compose, service: str) -> Command:
    """Start a service's containers as Compose does it: it waits for what the service needs."""
    return command(stack, "start", service)


def build(stack: Compose, services: Sequence[str], *, pull: bool) -> Command:
    """Build these services' images; all that have a `build`, where none is named."""
    return command(stack, "build", *(("--pull",) if pull else ()), *services)


def pull(stack: Compose, services: Sequence[str]) -> Command:
    """Fetch these services' images from where their names say."""
    return command(stack, "pull", *services)


def run_detached(
    stack: Compose,
    service: str,
    argv: Sequence[str],
    *,
    name: str,
    environment: Mapping[str, str | Secret],
) -> Command:
    """Start a one-off container of a service, under a name by which it is found again.

    Secrets pass by Compose's own environment, and so would win in the compose files, too.
    """
    secrets = {key: value for key, value in environment.items() if isinstance(value, Secret)}
    told = [key if key in secrets else f"{key}={value}" for key, value in environment.items()]
    variables = [word for variable in told for word in ("--env", variable)]
    words = ("run", "--detach", "--no-deps", "--name", name, *variables, service, *argv)
    started = command(stack, *words)
    return replace(started, environment={**started.environment, **secrets})


# --- reading --------------------------------------------------------------------------------


def version() -> tuple[int, ...] | None:
    """Compose's version; None: there is no Compose v2."""
    if shutil.which("docker") is None:
        return None
    told = output(Command(argv=("docker", "compose", "version", "--short")), timeout_s=20.0)
    if told.exit_code != 0:
        return None
    numbers = told.stdout.strip().lstrip("v").split("-")[0].split("+")[0].split(".")
    return tuple(int(number) for number in numbers[:3] if number.isdigit())


def missing_for(stack: Compose) -> list[str]:
    """What is missing to work on a stack; changes nothing."""
    found = version()
    if found is None:
        return ["there is no `docker compose`: install Docker's Compose plugin, version 2"]
    if found < OLDEST:
        shown = ".".join(map(str, found))
        return [f"`docker compose` is version {shown}, expected 2.20 or newer"]
    absent = [file for file in (*stack.files, *stack.env_files) if not file.is_file()]
    if absent:
        return [f"there is no file `{file}`, which stack `{stack.name}` names" for file in absent]
    try:
        services(stack)
    except Unfit as error:
        return [error.message]
    return []


def services(stack: Compose) -> dict[str, Service]:
    """The stack's services by name, as Compose understands its files now.

    Raises:
        Unfit: Compose refuses the files.
    """
    model = json.loads(_read(stack, "config", "--format", "json"))
    return {
        name: Service(
            name=name,
            image=found.get("image") or f"{stack.project}-{name}",
            is_built="build" in found,
            restart=_restart(found),
            is_prepared=_is_prepared(found, model),
            replicas=_replicas(found),
            needs={
                needed: str(how.get("condition", "service_started"))
                for needed, how in (found.get("depends_on") or {}).items()
            },
        )
        for name, found in (model.get("services") or {}).items()
    }


def names_in_every_profile(stack: Compose) -> set[str]:
    """The names of all services that the files have, whichever profiles are on."""
    everything = stack.model_copy(update={"profiles": ["*"]})
    return set(_read(everything, "config", "--services").split())


def hashes(stack: Compose) -> dict[str, str]:
    """Of each service the hash that Compose labels its containers with."""
    lines = _read(stack, "config", "--hash", "*").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line.strip())


def in_order(found: Mapping[str, Service], wanted: Sequence[str]) -> list[list[str]]:
    """These services and all that they depend on, in layers: each needs only those before it."""
    pending, chosen = list(wanted), set[str]()
    while pending:
        name = pending.pop()
        if name not in chosen and name in found:
            chosen.add(name)
            pending.extend(found[name].needs)
    layers: list[list[str]] = []
    placed = set[str]()
    while chosen - placed:
        layer = sorted(n for n in chosen - placed if set(found[n].needs) & chosen <= placed)
        layers.append(layer or sorted(chosen - placed))
        placed |= set(layers[-1])
    return layers


def _is_prepared(service: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Secrets and configs that are no files, and hooks."""
    named = [
        (model.get(kind) or {}).get(use.get("source"), {})
        for kind in ("secrets", "configs")
        for use in service.get(kind) or ()
    ]
    return "post_start" in service or any(
        {"content", "environment"} & each.keys() for each in named
    )


def _replicas(service: Mapping[str, Any]) -> int:
    deploy = service.get("deploy") or {}
    told = (service.get("scale"), deploy.get("replicas"))
    return next((int(count) for count in told if count is not None), 1)


def _restart(service: Mapping[str, Any]) -> str:
    """What stands under `deploy` wins, and has words of its own."""
    policy = (service.get("deploy") or {}).get("restart_policy")
    if policy is None:
        return str(service.get("restart") or "no")
    name = str(policy.get("condition") or "no")
    name = {"none": "no", "any": "always"}.get(name, name)
    retries = policy.get("max_attempts")
    return f"{name}:{retries}" if retries and name == "on-failure" else name


def _read(stack: Compose, *words: str) -> str:
    told: Completed = output(command(stack, *words), timeout_s=_READ_TIMEOUT_S)
    if told.exit_code != 0:
        last = told.tail[-1] if told.tail else f"exit code {told.exit_code}"
        files = ", ".join(f"`{file}`" for file in stack.files)
        raise Unfit(
            f"Compose refuses {files} of stack `{stack.name}`: {last}",
            hint="docker compose config shows what it makes of them",
        )
    return told.stdout
