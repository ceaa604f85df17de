"""What is laid over runbooks: five levels of precedence, and each value keeps its place."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from runbook.core.plan import Json, Plan
from runbook.errors import InputError
from runbook.language.checking import read_valid, validate
from runbook.language.compile import changed_sources, compile_runbook
from runbook.language.diagnostics import InvalidRunbook
from runbook.language.effective import EffectiveValue, effective_values
from runbook.language.inputs import declared_defaults, read_inputs
from runbook.registry import Registry, discover
from runbook.resources import Compose
from tests.language.conftest import PROJECT

DEPLOY = """\
runbook: v1
name: deploy
inputs:
  level: {type: string, default: default, env: LEVEL}
  other: {type: integer, default: 1}
vars: {own: "${{ inputs.level }}-${{ inputs.other }}"}
steps:
  - {id: look, uses: http_check, with: {checks: [{get: "http://a/${{ vars.own }}"}]}}
  - parallel:
      - {id: dump, uses: backup_db, with: {database: db}, timeout: 5m}
      - steps:
          - {id: shape, uses: command, rerun: safe, when: "true",
             with: {argv: [a], environment: {ONE: '1', TWO: '2'}}}
"""
Compiled = Callable[..., Plan]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a runbook, its project, and no environment yet."""
    (tmp_path / "environments").mkdir()
    (tmp_path / "project.yaml").write_text(PROJECT)
    (tmp_path / "deploy.yaml").write_text(DEPLOY)
    return tmp_path


@pytest.fixture
def compiled(folder: Path, registry: Registry) -> Compiled:
    """The plan in an environment with that text."""

    def compile_it(
        text: str,
        *vars_files: str,
        given: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Plan:
        (folder / "environments" / "prod.yaml").write_text(text)
        files = []
        for number, content in enumerate(vars_files):
            files.append(folder / f"{number}.vars")
            files[-1].write_text(content)
        return compile_runbook(
            folder / "deploy.yaml",
            registry=registry,
            read=lambda declared: read_inputs(declared, given or {}, environ or {}),
            environment="prod",
            vars_files=files,
        )

    return compile_it


@pytest.mark.parametrize("levels", range(5))
def test_an_input_has_the_value_of_the_highest_level_that_gives_it(
    levels: int, compiled: Compiled
) -> None:
    plan = compiled(
        "inputs: {level: environment}" if levels >= 1 else "{}",
        *(["inputs: {level: first}", "inputs: {level: second}"] if levels >= 2 else []),
        environ={"LEVEL": "variable"} if levels >= 3 else {},
        given={"level": "given"} if levels >= 4 else {},
    )

    highest = ["default", "environment", "second", "variable", "given"][levels]
    assert plan.inputs == {"level": highest, "other": 1}


def test_variables_are_laid_over_by_environment_and_vars_files(compiled: Compiled) -> None:
    text = 'vars: {own: fixed, map: {a: 1, b: 2}, env: "${{ env.name }}"}'

    plan = compiled(text, "vars: {map: {b: 3}}")

    assert plan.vars == {"own": "fixed", "map": {"a": 1, "b": 3}, "env": "prod"}


def test_maps_merge_and_everything_else_is_replaced(compiled: Compiled) -> None:
    text = """\
overrides:
  deploy:
    shape: {when: inputs.other > 1, with: {argv: [b, c], environment: {TWO: two}}}
    dump: {timeout: 1h, retry: {attempts: 3}}
resources:
  web: {process: {environment: {MORE: x}}}
secrets: {token: {file: token}}
"""

    plan = compiled(text)

    shape, dump = plan.step("shape"), plan.step("dump")
    assert shape.when == "inputs.other > 1"
    assert shape.params == {
        "argv": ["b", "c"],
        "environment": {"ONE": "1", "TWO": "two"},
    }
    assert (dump.timeout_s, dump.retry.attempts, dump.params) == (3600, 3, {"database": "db"})
    assert plan.resources["web"].params["environment"] == {
        "TOKEN": "${{ secrets.token }}",
        "MORE": "x",
    }
    assert plan.secrets["token"].provider == "file"


def test_a_resource_of_another_type_takes_the_place_of_the_first(compiled: Compiled) -> None:
    plan = compiled("resources: {uploads: {git: {path: .}}, more: {directory: {path: .}}}")

    assert plan.resources["uploads"].kind == "git"
    assert plan.resources["more"].kind == "directory"


def test_paths_start_at_the_file_that_names_them(compiled: Compiled, folder: Path) -> None:
    text = """\
overrides: {deploy: {shape: {with: {argv: [y]}}}}
resources: {db: {sqlite: {path: prod.db}}, web: {process: {argv: [b]}}}
secrets: {key: {file: key}}
"""

    plan = compiled(text)

    inside = str(folder / "environments")
    assert plan.step("shape").bases == {"argv": inside}
    assert plan.step("shape").base == str(folder)
    assert plan.resources["db"].bases == {"path": inside}
    assert plan.resources["web"].bases == {"argv": inside}
    assert plan.resources["web"].base == str(folder)
    assert plan.secrets["key"].reference == f"{inside}/key"


def test_the_paths_of_a_list_start_where_the_list_was_written() -> None:
    context = {"base": "/below", "bases": {"files": "/above"}}

    stack = Compose.model_validate(
        {"project": "p", "files": ["a"], "env_files": ["b"]}, context=context
    )

    assert stack.files == [Path("/above/a")]
    assert stack.env_files == [Path("/below/b")]


def test_the_lock_and_the_files_of_a_run_are_those_of_its_environment(
    compiled: Compiled, folder: Path
) -> None:
    plan = compiled("protected: true", "vars: {a: 1}")

    assert (plan.lock, plan.environment, plan.is_protected) == ("shop/prod", "prod", True)
    assert plan.vars_files == (str(folder / "0.vars"),)
    (folder / "environments" / "prod.yaml").write_text("{}")
    (folder / "0.vars").unlink()
    assert len(changed_sources(plan)) == 2


def test_an_environment_must_be_chosen_where_there_are_some(
    folder: Path, registry: Registry
) -> None:
    (folder / "environments" / "prod.yaml").write_text("{}")

    for environment, message, hint in (
        (None, "there are prod", "add --env prod"),
        ("prdo", "no environment `prdo`", "did you mean `prod`?"),
        ("../project", "no environment `../project`", "expected `prod`"),
    ):
        with pytest.raises(InputError) as raised:
            compile_runbook(
                folder / "deploy.yaml",
                registry=registry,
                read=declared_defaults,
                environment=environment,
            )
        assert message in raised.value.message
        assert raised.value.hint == hint


def test_what_is_proposed_is_never_a_protected_environment(
    folder: Path, registry: Registry
) -> None:
    (folder / "environments" / "prod.yaml").write_text("protected: true")
    alone = refused(folder, registry)
    (folder / "environments" / "staging.yaml").write_text("{}")

    assert alone.hint == "add --env NAME"
    assert refused(folder, registry).hint == "add --env staging"


@pytest.mark.parametrize("name", ["prod.yml", "prod.YAML"])
def test_a_file_that_would_be_taken_for_an_environment_is_not_ignored(
    folder: Path, registry: Registry, name: str
) -> None:
    file = folder / "environments" / name
    file.write_text("{}")

    error = refused(folder, registry)

    assert "must end in `.yaml`" in error.message
    assert error.hint == f"mv {file} {file.with_name('prod.yaml')}"


def refused(folder: Path, registry: Registry) -> InputError:
    with pytest.raises(InputError) as raised:
        compile_runbook(folder / "deploy.yaml", registry=registry, read=declared_defaults)
    return raised.value


def test_an_error_in_what_was_laid_over_names_the_file_that_it_stands_in(
    compiled: Compiled, folder: Path
) -> None:
    with pytest.raises(InputError) as raised:
        compiled('vars: {a: "${{ 1 / 0 }}"}')

    assert raised.value.where == f"{folder / 'environments' / 'prod.yaml'}:1"


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ("vars: {pause: abc}", (1, 15)),
        ('overrides: {deploy: {rest: {with: {for: "${{ env.name }}"}}}}', (1, 41)),
        ("inputs: {wait: abc}", (1, 16)),
    ],
)
def test_a_value_that_a_step_does_not_take_is_found_before_anything_runs(
    folder: Path, layer: str, place: tuple[int, int]
) -> None:
    value = "inputs.wait" if layer.startswith("inputs") else "vars.pause"
    (folder / "deploy.yaml").write_text(
        "runbook: v1\nname: deploy\n"
        "inputs: {wait: {type: string, default: 1s}}\nvars: {pause: 1s}\n"
        f'steps: [{{id: rest, uses: wait, with: {{for: "${{{{ {value} }}}}"}}}}]\n'
    )
    file = folder / "environments" / "prod.yaml"
    file.write_text(layer)

    with pytest.raises(InvalidRunbook) as raised:
        compile_runbook(
            folder / "deploy.yaml",
            registry=discover(),
            read=declared_defaults,
            environment="prod",
        )

    (error,) = [found for found in raised.value.diagnostics if found.is_error]
    assert "`for` of step `rest`: expected a duration" in error.message
    assert (error.file, error.line, error.column) == (str(file), *place)


def test_the_way_back_is_laid_over_too(compiled: Compiled, folder: Path) -> None:
    (folder / "rollback.yaml").write_text(
        "runbook: v1\nname: rollback\nfor: deploy.yaml\n"
        "inputs: {wait: {type: duration, default: 1s}}\n"
        'steps: [{id: back, uses: command, rerun: safe, with: {argv: ["${{ inputs.wait }}"]}}]\n'
    )
    way_back = "on_failure: {runbook: rollback.yaml, after: look}\n"
    (folder / "deploy.yaml").write_text(DEPLOY + way_back)

    plan = compiled("inputs: {wait: 9s}\noverrides: {rollback: {back: {timeout: 7s}}}")

    assert plan.on_failure is not None
    assert plan.on_failure.plan.inputs == {"wait": 9}
    assert plan.on_failure.plan.step("back").timeout_s == 7


def test_every_environment_is_validated_by_itself(folder: Path, registry: Registry) -> None:
    (folder / "environments" / "prod.yaml").write_text("inputs: {other: many}")
    (folder / "environments" / "staging.yaml").write_text("inputs: {other: 2}")

    everywhere = validate(folder / "deploy.yaml", registry=registry)
    in_staging = validate(folder / "deploy.yaml", registry=registry, environment="staging")

    assert [found.message for found in everywhere] == [
        "input `other`: expected a whole number, found `many`"
    ]
    assert in_staging == []


def test_an_error_that_one_environment_causes_elsewhere_names_it(
    folder: Path, registry: Registry
) -> None:
    (folder / "environments" / "prod.yaml").write_text("resources: {db: {git: {path: .}}}")
    (folder / "environments" / "staging.yaml").write_text("{}")

    (found,) = validate(folder / "deploy.yaml", registry=registry)

    assert found.file.endswith("deploy.yaml")
    assert found.message == "resource `db` is a `git`, expected `sqlite` (in environment `prod`)"


def test_a_warning_that_one_environment_takes_away_is_none(
    folder: Path, registry: Registry
) -> None:
    text = DEPLOY.replace("${{ vars.own }}", "").replace('vars: {own: "${{ inputs.level }}', "")
    (folder / "deploy.yaml").write_text(text.replace('-${{ inputs.other }}"}\n', ""))
    (folder / "environments" / "prod.yaml").write_text(
        'overrides: {deploy: {shape: {when: "inputs.level == inputs.other"}}}'
    )
    (folder / "environments" / "staging.yaml").write_text("{}")

    found = validate(folder / "deploy.yaml", registry=registry)
    in_staging = validate(folder / "deploy.yaml", registry=registry, environment="staging")

    assert "RB451" not in [each.code for each in found]
    assert [each.code for each in in_staging] == ["RB451", "RB451"]


def test_a_sensitive_input_is_not_given_by_a_file(compiled: Compiled, folder: Path) -> None:
    declared = "  secret: {type: string, sensitive: true, env: S}\n"
    (folder / "deploy.yaml").write_text(DEPLOY.replace("vars: ", f"{declared}vars: "))

    with pytest.raises(InvalidRunbook) as raised:
        compiled("inputs: {secret: hunter2}")

    (found,) = [each for each in raised.value.diagnostics if each.is_error]
    assert found.code == "RB408"
    assert found.file.endswith("prod.yaml")
    assert "hunter2" not in found.source_line


def test_every_effective_value_is_shown_with_its_place(
    folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    Path("project.yaml").write_text(f"{PROJECT}lock: shared\n")
    Path("environments/prod.yaml").write_text(
        "inputs: {other: 7}\n\noverrides: {deploy: {dump: {timeout: 1h}}}\npolicy: {revisions: [a]}"
    )

    bundle = read_valid(Path("deploy.yaml"), registry=registry, environment="prod", vars_files=())
    found = {each.key: each for each in effective_values(bundle, {"LEVEL": "high"})}

    shown = {key: (each.value, each.origin) for key, each in found.items()}
    assert shown["inputs.level"] == ("high", "variable LEVEL")
    assert shown["inputs.other"] == (7, "environments/prod.yaml:1")
    assert shown["steps.dump.timeout"] == ("1h", "environments/prod.yaml:3")
    assert shown["steps.dump.with.database"] == ("db", "deploy.yaml:10")
    assert shown["resources.db.sqlite.path"] == ("../data/shop.db", "project.yaml:6")
    assert shown["secrets.token.env"] == ("TOKEN", "project.yaml:3")
    assert shown["lock"][0] == "shared"
    assert shown["policy.revisions"] == (["a"], "environments/prod.yaml:4")


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("resources.db.postgres.password", "hunter2", "[secret]"),
        ("resources.db.postgres.password", "${{ secrets.db }}", "${{ secrets.db }}"),
        ("resources.db.postgres.host", "localhost", "localhost"),
        ("secrets.db.command", ["vault", "-token", "hunter2"], ["vault", "[secret]"]),
        ("secrets.db.env", "DB_PASSWORD", "DB_PASSWORD"),
    ],
)
def test_what_may_be_a_secret_is_not_among_the_values_that_are_shown(
    key: str, value: Json, shown: Json
) -> None:
    assert EffectiveValue(key, value, "deploy.yaml:1").shown == shown
