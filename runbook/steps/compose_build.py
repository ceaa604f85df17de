"""Build the images of a stack's services."""

from collections.abc import Sequence

from runbook.core.plan import Effect, Rerun
from runbook.errors import CommandFailed
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Compose
from runbook.tools import compose, docker


class ComposeBuild(Spec):
    """Build the images of a stack's services.

    What was built before stays in the builder's cache, and what runs stays tagged where
    `snapshot_images` came before.

    Example:
        id: build
        uses: compose_build
        with: {stack: stack}
        timeout: 30m
    """

    stack: Resource[Compose]
    """The stack."""
    services: list[str] | None = None
    """Which services; absent: every one that is built from source."""
    pull: bool = False
    """Whether newer base images are looked for."""


class ImagesBuilt(Outputs):
    """What was built."""

    images: dict[str, str]
    """Of each service the id of its image."""


def _run(spec: ComposeBuild, ctx: Context) -> Result[ImagesBuilt]:
    before = _ids(spec)
    recorded = (ctx.progress or {}).get("before")
    if isinstance(recorded, dict):
        before = {name: str(found) for name, found in recorded.items()}
    else:
        ctx.record_progress({"before": dict(before)})
    ended = ctx.run(compose.build(spec.stack, spec.services or (), pull=spec.pull))
    after = _ids(spec)
    if ended.exit_code != 0:
        raise CommandFailed(
            f"the build ended with exit code {ended.exit_code}, expected 0",
            where="docker compose build",
            output_tail=ended.tail,
            changed=after != before,
        )
    return Result(ImagesBuilt(images=after), changed=after != before)


def _ids(spec: ComposeBuild) -> dict[str, str]:
    """Of each service that is built, the id of its image now."""
    built = [each for each in compose.services(spec.stack).values() if each.is_built]
    wanted = [each for each in built if spec.services is None or each.name in spec.services]
    with docker.engine() as client:
        found = {each.name: docker.image_id(client, each.image) for each in wanted}
    return {name: image for name, image in found.items() if image is not None}


def _describe(spec: ComposeBuild) -> str:
    return f"build {', '.join(spec.services or ['the images'])} of `{spec.stack.name}`"


def _by_hand(spec: ComposeBuild) -> Sequence[str]:
    return [" ".join(compose.build(spec.stack, spec.services or (), pull=spec.pull).argv)]


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
