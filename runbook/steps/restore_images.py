"""Let the names of a stack's images mean what they meant in the loaded restore point."""

from collections.abc import Sequence

from runbook.core.plan import Effect, Rerun
from runbook.errors import Unfit
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Compose
from runbook.restore import images
from runbook.restore.choice import loaded_point
from runbook.tools import docker


class RestoreImages(Spec):
    """Let the names of a stack's images mean what they meant in the loaded restore point.

    Nothing is built or pulled: `compose_up` starts them afterwards. All are looked for before the
    first name is given.

    Example:
        id: images
        uses: restore_images
        with: {stack: stack}
    """

    stack: Resource[Compose]
    """The stack."""


class ImagesRestored(Outputs):
    """What was given back."""

    restored: list[str]
    """The services whose image is another now."""


def _run(spec: RestoreImages, ctx: Context) -> Result[ImagesRestored]:
    point = loaded_point(ctx)
    entry = point.manifest.stack_images(spec.stack.name)
    if entry is None:
        raise Unfit(f"restore point `{point.id}` has no images of `{spec.stack.name}`")
    restored = images.restore(entry, ctx)
    return Result(ImagesRestored(restored=restored), changed=bool(restored))


def _by_hand(_spec: RestoreImages) -> Sequence[str]:
    return ["docker tag ID NAME  # both stand in the restore point's manifest, under `images`"]


STEP = StepKind(
    spec=RestoreImages,
    outputs=ImagesRestored,
    effect=Effect.CHANGES,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"give the images of `{spec.stack.name}` their names back",
    run=_run,
    by_hand=_by_hand,
    preflight=lambda _spec, _ctx: docker.missing_engine(),
)
