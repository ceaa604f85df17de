"""`runbook schema`: print a JSON Schema of the language."""

import json

import click

from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.errors import ExitStatus
from runbook.language.schema import schema_for
from runbook.registry import discover


@click.command("schema", context_settings=HELP)
@click.argument("name", type=click.Choice(["runbook", "project", "environment"]), default="runbook")
@output_option()
@common_options
@click.pass_obj
def schema(options: Options, /, *, name: str) -> ExitStatus:
    """Print the schema that editors and `validate` use.

    Of a runbook, of project.yaml, or of an environment's file.

    \b
    Examples:
      runbook schema environment
    """
    schema = schema_for(name, discover())
    if options.output == "json":
        options.answer_json("schema", {"name": name, "schema": schema})
    else:
        options.answer(json.dumps(schema, indent=2, ensure_ascii=False))
    return ExitStatus.SUCCEEDED
