"""Running PostgreSQL's programs, and saying in plain words why one failed."""

from runbook.errors import CommandFailed, StepError
from runbook.kinds import Context
from runbook.tools.process import Command


def succeed(command: Command, ctx: Context) -> None:
    """Run one to its end.

    Raises:
        CommandFailed: it ended with another status than 0.
        StepError: for want of room on a disk.
    """
    ended = ctx.run(command)
    if ended.exit_code == 0:
        return
    program = next((word for word in command.argv if "entrypoint" in word), command.argv[0])
    name = program.removeprefix("--entrypoint=")
    if any("No space left on device" in line for line in ended.tail):
        raise StepError(
            f"no room left on the disk while `{name}` ran",
            hint="make room, then `runbook resume`",
            where=name,
            changed=False,
            output_tail=ended.tail,
        )
    raise CommandFailed(
        f"`{name}` ended with exit code {ended.exit_code}, expected 0",
        where=name,
        changed=False,
        output_tail=ended.tail,
    )
