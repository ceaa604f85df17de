"""Note which images a stack runs, and keep them from being pruned."""

from runbook.core.plan import Effect, Rerun
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Compose
from runbook.restore import images
from runbook.restore.manifest import StackImages
from runbook.tools import docker


class SnapshotImages(Spec):
    """Note which images a stack runs, and keep them from being pruned.

    Each gets a second name, so that neither a build nor `docker image prune` takes it away.
    A service without a container has none.

    Example:
        id: images
        uses: snapshot_images
        with: {stack: stack}
    """

    stack: Resource[Compose]
    """The stack."""


class ImagesKept(Outputs):
    """What was noted."""

    images: dict[str, str]
    """Of each service the id of its image."""
    entry: StackImages
    """All that the restore point records of them."""


def _run(spec: SnapshotImages, ctx: Context) -> Result[ImagesKept]:
    entry = images.snapshot(spec.stack, ctx)
    ids = {image.service: image.id for image in entry.images}
    return Result(ImagesKept(images=ids, entry=entry), changed=False)


STEP = StepKind(
    spec=SnapshotImages,
    outputs=ImagesKept,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"keep the images that `{spec.stack.name}` runs",
    run=_run,
    by_hand=lambda spec: [f"docker compose --project-name {spec.stack.project} images"],
    preflight=lambda _spec, _ctx: docker.missing_engine(),
)
