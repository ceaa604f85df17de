"""The root command. It finds commands by a table: `--help` and `--version` import none of them."""

from importlib import import_module

import click

from runbook import __version__
from runbook.cli.options import HELP, common_options

COMMANDS = {
    "run": "Run a runbook.",
    "resume": "Go on with a run after its last completed step.",
    "rollback": "Undo a run by the rollback that it pinned.",
    "approve": "Say yes to what a run waits for, and go on with it.",
    "reject": "Say no to what a run waits for.",
    "abort": "Give up a run for good, after mending it by hand.",
    "validate": "Check runbooks; nothing is executed.",
    "plan": "Show what a run would do; nothing is executed.",
    "status": "Show what is unfinished, and what to type.",
    "history": "List runs, newest first.",
    "points": "List restore points, and what restores have replaced.",
    "logs": "Print the step logs of a run.",
    "config": "Show what runbooks come to in an environment, and where each value stands.",
    "diff": "Show what differs between two environments.",
    "secrets": "Check that every secret can be had.",
    "explain": "Explain the code of an error or a warning.",
    "graph": "Draw a runbook with its rollback, as Mermaid or SVG.",
    "schema": "Print a JSON Schema of the language.",
    "steps": "Explain the step kinds.",
    "demo": "Deploy a sample shop in a throw-away workspace, or watch it fail and roll back.",
}
"""Every command with its line in `--help`; `runbook.cli.<name>.<name>` is the command itself."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"runbook.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        # Click looks for similar names among the commands that are loaded: here, none.
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(name, possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 — click's signature
    if value and not ctx.resilient_parsing:
        click.echo(f"runbook {__version__}")
        ctx.exit()


program = LazyGroup(
    name="runbook",
    no_args_is_help=True,
    context_settings=HELP,
    help="Deploy and roll back from runbooks. Every step is checkpointed: any run can go on.",
    epilog="Exit status: 0 succeeded, 1 failed, 2 invalid, 3 rolled back, 4 rollback failed,"
    " 5 waiting for an answer, 6 another run holds the lock, 7 preflight failed, 70 a bug,"
    " 129/130/143 interrupted.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version.",
        )
    ],
)
common_options(program)
