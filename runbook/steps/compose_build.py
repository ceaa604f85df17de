"""Build the images of a stack's services, and fetch those that are not built and not here.

So that a release whose images cannot be had fails before anything is stopped
(docs/adr/0024-missing-images-are-fetched-by-the-build.md).
"""

from collections.abc import Sequence

from runbook.core.plan import Effect, Rerun
from runbook.errors import CommandFailed
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Compose
from runbook.tools import compose, docker


class ComposeBuild(Spec):
    """Build the images of a stack's services, and fetch those that are not built and not here.

    An image that is here already is never fetched anew: no network is needed for it. What was built
    before stays in the builder's cache, and what runs stays tagged where `snapshot_images` came
    before.

    Example:
        id: build
        uses: compose_build
        with: {stack: stack}
        timeout: 30m
    """

    stack: Resource[Compose]
    """The stack."""
    services: list[str] | None = None
    """Which services; absent: every one."""
    pull: bool = False
    """Whether newer base images are looked for."""


class ImagesBuilt(Outputs):
    """What was built, and fetched."""

    images: dict[str, str]
    """Of each service that is built the id of its image."""
    fetched: list[str]
    """Names of the images that were fetched."""


def _run(spec: ComposeBuild, ctx: Context) -> Result[ImagesBuilt]:
    before = _ids(spec)
    recorded = (ctx.progress or {}).get("before")
    if isinstance(recorded, dict):
        before = {name: str(found) for name, found in recorded.items()}
    else:
        ctx.record_progress({"before": dict(before)})
    fetched = _fetch(spec, ctx)
    ended = ctx.run(compose.build(spec.stack, spec.services or (), pull=spec.pull))
    after = _ids(spec)
    if ended.exit_code != 0:
        raise CommandFailed(
            f"the build ended with exit code {ended.exit_code}, expected 0",
            where="docker compose build",
            output_tail=ended.tail,
            changed=after != before,
        )
    return Result(ImagesBuilt(images=after, fetched=fetched), changed=after != before)


def _fetch(spec: ComposeBuild, ctx: Context) -> list[str]:
    """Fetch the images that are neither here nor built by a service; their names."""
    missing = _missing(spec)
    if not missing:
        return []
    ended = ctx.run(compose.pull(spec.stack, list(missing)))
    if still := _missing(spec):
        name, image = next(iter(still.items()))
        raise CommandFailed(
            f"there is no image `{image}`, which service `{name}` runs, and it cannot be fetched",
            where="docker compose pull",
            output_tail=ended.tail,
            changed=False,
        )
    return sorted(set(missing.values()))


def _missing(spec: ComposeBuild) -> dict[str, str]:
    """Of each service whose image is neither here nor built, the image's name."""
    services = compose.services(spec.stack).values()
    built = {each.image for each in services if each.is_built}
    wanted = [each for each in services if spec.services is None or each.name in spec.services]
    with docker.engine() as client:
        return {
            each.name: each.image
            for each in wanted
            if each.image not in built and docker.image_id(client, each.image) is None
        }


def _ids(spec: ComposeBuild) -> dict[str, str]:
    """Of each service that is built, the id of its image now."""
    built = [each for each in compose.services(spec.stack).values() if each.is_built]
    wanted = [each for each in built if spec.services is None or each.name in spec.services]
    with docker.engine() as client:
        found = {each.name: docker.image_id(client, each.image) for each in wanted}
    return {name: image for name, image in found.items() if image is not None}


def _describe(spec: ComposeBuild) -> str:
    which = ", ".join(spec.services or ["the images"])
    return f"build {which} of `{spec.stack.name}`, and fetch what is missing"


def _by_hand(spec: ComposeBuild) -> Sequence[str]:
    services = spec.services or ()
    fetch = compose.command(spec.stack, "pull", "--ignore-buildable", *services)
    return [
        fetch.typed(),
        compose.build(spec.stack, services, pull=spec.pull).typed(),
    ]


STEP = StepKind(
    spec=ComposeBuild,
    outputs=ImagesBuilt,
    effect=Effect.CHANGES,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    by_hand=_by_hand,
    preflight=lambda spec, _ctx: [*docker.missing_engine(), *compose.missing_for(spec.stack)],
    timeout_s=1800.0,
)
