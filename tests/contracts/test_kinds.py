"""What every step kind keeps, whoever wrote it: a new module has its seat here by being there."""

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import runbook
from runbook.cli.plan import view_plan
from runbook.core.plan import Effect, Rerun
from runbook.errors import RunbookError
from runbook.introspection import describe_fields, nested_models
from runbook.language.checking import validate
from runbook.language.compile import compile_runbook
from runbook.language.inputs import read_inputs
from runbook.registry import discover
from runbook.report.reference import refer_to

REGISTRY = discover()
TESTS = [Path(__file__).parents[1] / folder for folder in ("steps", "real")]
RESOURCES = """
project: sample
secrets: {alerts: {env: ALERTS}}
resources:
  code: {git: {path: code}}
  db: {sqlite: {path: shop.db}}
  uploads: {directory: {path: uploads, used_by: [web]}}
  web: {process: {argv: [python3, server.py], directory: code}}
  stack: {compose: {project: sample, files: [compose.yaml]}}
  data: {volume: {name: sample_data, used_by: [stack/web]}}
  bucket: {s3: {service: stack/minio, bucket: files, access_key: a, secret_key: b}}
"""

every_kind = pytest.mark.parametrize("name", REGISTRY.names)


@every_kind
def test_a_kind_says_how_doubt_is_settled_and_has_a_probe_exactly_if_it_needs_one(
    name: str,
) -> None:
    kind = REGISTRY.find(name)

    assert (kind.probe is not None) == (kind.rerun in (Rerun.PROBE, None))


@every_kind
def test_every_parameter_and_output_is_documented(name: str) -> None:
    kind = REGISTRY.find(name)
    describe_fields(kind.spec, kind.outputs)

    undocumented = [
        f"{model.__name__}.{field}"
        for top in (kind.spec, kind.outputs)
        for model in nested_models(top)
        for field, info in model.model_fields.items()
        if not info.description and not (info.json_schema_extra or {})
    ]

    assert not undocumented


def write_example(name: str, folder: Path) -> Path:
    """A runbook whose last step is the kind's own example."""
    example = yaml.safe_load(refer_to(name, REGISTRY.find(name)).example)
    back_up = {"id": "backed_up", "uses": "load_restore_point"}
    document: dict[str, object] = {"runbook": "v1", "name": "sample", "steps": [back_up, example]}
    document["inputs"] = {
        "confirm": {"type": "boolean", "default": False},
        "channel": {"type": "string", "default": "stable"},
    }
    (folder / "project.yaml").write_text(RESOURCES)
    path = folder / "sample.yaml"
    # What is known only once a run has begun would leave it undescribed.
    path.write_text(yaml.safe_dump(document).replace("${{ run.id }}", "1"))
    return path


@every_kind
def test_the_example_is_valid(name: str, tmp_path: Path) -> None:
    path = write_example(name, tmp_path)

    findings = validate(path, registry=REGISTRY)

    assert [each.message for each in findings if each.is_error] == []


@every_kind
def test_a_plan_says_what_the_example_would_do_and_what_to_type_instead(
    name: str, tmp_path: Path
) -> None:
    path = write_example(name, tmp_path)
    plan = compile_runbook(path, registry=REGISTRY, read=lambda each: read_inputs(each, {}, {}))

    step = view_plan(plan, REGISTRY).steps[-1]

    assert step.later == ()
    assert step.line
    assert bool(step.commands) == (REGISTRY.find(name).by_hand is not None)
    assert all(command and "\n" not in command for command in step.commands)


@every_kind
def test_a_kind_that_destroys_says_what(name: str) -> None:
    kind = REGISTRY.find(name)

    assert (kind.effect is Effect.DESTROYS) == (kind.destroys is not None)
    for field in (kind.destroys, kind.backs_up, kind.holds):
        assert field is None or field in kind.spec.model_fields


@every_kind
def test_a_kind_describes_itself(name: str) -> None:
    module = inspect.getmodule(REGISTRY.find(name).run)

    assert module is not None
    assert module.__doc__
    assert inspect.getdoc(REGISTRY.find(name).spec)


@every_kind
def test_a_kind_has_a_test_of_its_own(name: str) -> None:
    tested = {
        kind
        for folder in TESTS
        for path in folder.rglob("test_*.py")
        for kind in REGISTRY.names
        if re.search(rf"steps\.{kind}\b", path.read_text()) or path.stem == f"test_{kind}"
    }

    assert name in tested


def test_every_error_that_a_kind_may_raise_has_a_code_of_its_own() -> None:
    for name in REGISTRY.names:
        REGISTRY.find(name)
    for module in pkgutil.walk_packages(runbook.__path__, "runbook."):
        if ".shipped" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
    pending, codes = [RunbookError], []
    while pending:
        error = pending.pop()
        codes.append(error.code)
        pending.extend(error.__subclasses__())

    assert len(codes) == len(set(codes))
