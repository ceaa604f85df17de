"""One set of runbooks for several environments."""

import json

import pytest

from tests.scenarios.conftest import Desk, Shop

pytestmark = pytest.mark.slow

SAY = """\
runbook: v1
name: deploy
inputs: {word: {type: string, default: plain}}
steps:
  - id: say
    uses: command
    rerun: safe
    with: {script: 'echo "$WORD" >> traces', environment: {WORD: "${{ inputs.word }}"}}
"""


@pytest.fixture
def two(desk: Desk) -> Desk:
    """A desk with a runbook for two environments, one of them protected."""
    desk.write("deploy.yaml", SAY)
    desk.write("environments/staging.yaml", "inputs: {word: staging}\n")
    desk.write("environments/prod.yaml", "protected: true\ninputs: {word: prod}\n")
    return desk


def test_the_same_runbook_does_in_each_environment_what_that_says(two: Desk) -> None:
    staging = two.runbook("run", "deploy.yaml", "--env", "staging")
    two.write("more.yaml", "inputs: {word: more}\n")
    more = two.runbook("run", "deploy.yaml", "--env", "staging", "--vars-file", "more.yaml")
    none = two.runbook("run", "deploy.yaml")

    assert (staging.status, more.status, none.status) == (0, 0, 2), staging.text + more.text
    assert two.traces == ["staging", "more"]
    assert "add --env" in none.err
    assert "deploy -> staging" in two.runbook("history").out


def test_a_protected_environment_wants_its_name_typed(two: Desk) -> None:
    refused = two.runbook("run", "deploy.yaml", "--env", "prod")
    terminal = two.on_terminal("run", "deploy.yaml", "--env", "prod")
    terminal.expect("Type its name: ")
    terminal.sendline("prd")
    terminal.expect("nobody typed its name")
    terminal.close()
    traces = two.traces
    terminal = two.on_terminal("run", "deploy.yaml", "--env", "prod")
    terminal.expect("Type its name: ")
    terminal.sendline("prod")
    terminal.expect("succeeded")
    terminal.close()
    confirmed = two.runbook("run", "deploy.yaml", "--env", "prod", "--yes")

    assert (refused.status, traces, confirmed.status) == (2, [], 0)
    assert two.traces == ["prod", "prod"]


def test_runs_in_two_environments_do_not_stand_in_each_others_way(two: Desk) -> None:
    wait = ">> traces; while [ $WORD != prod -a ! -e gate ]; do sleep 0.02; done'"
    two.write("deploy.yaml", SAY.replace(">> traces'", wait))

    staging = two.start("run", "deploy.yaml", "--env", "staging")
    two.traced("staging")
    prod = two.runbook("run", "deploy.yaml", "--env", "prod", "--yes")
    again = two.runbook("run", "deploy.yaml", "--env", "staging")
    two.open_gate()

    assert (prod.status, again.status, two.ended(staging).status) == (0, 6, 0), again.text


def test_a_resume_keeps_to_the_environment_and_an_amended_one_as_well(two: Desk) -> None:
    two.write("deploy.yaml", SAY.replace(">> traces'", ">> traces; test -e mended'"))
    two.write("more.yaml", "vars: {a: 1}\n")
    failed = two.runbook("run", "deploy.yaml", "--env", "staging", "--vars-file", "more.yaml")
    two.write("environments/staging.yaml", "inputs: {word: other}\n")
    (two.root / "mended").touch()

    resumed = two.runbook("resume", "--amend", "--yes")

    assert (failed.status, resumed.status) == (1, 0), resumed.text
    assert two.traces == ["staging", "staging"]


def test_what_a_policy_forbids_does_not_start_and_the_way_back_always_does(shop: Shop) -> None:
    environment = shop.root / "runbooks" / "environments" / "prod.yaml"
    environment.parent.mkdir()
    environment.write_text('policy: {revisions: ["v1*", main]}\n')
    env = ["--env", "prod"]

    first = shop.runbook(*shop.deploying("v1"), *env)
    refused = shop.runbook(*shop.deploying("v2"), *env)
    environment.write_text('policy: {window: {days: [mon], from: "00:00", to: "00:00"}}\n')
    runs = len(shop.history())
    back = shop.runbook("rollback", "--set", "data=keep", "--yes")

    assert (first.status, refused.status, back.status) == (0, 2, 0), first.text + back.text
    assert "revision `v2` may not be released to environment `prod`" in refused.err
    assert runs == 1
    assert shop.release() is None


def test_config_and_diff_say_what_an_environment_comes_to(two: Desk) -> None:
    config = two.runbook("config", "deploy.yaml", "--env", "prod", "--origin")
    told = two.runbook("diff", "staging", "prod", "deploy.yaml")
    as_json = json.loads(two.runbook("diff", "staging", "prod", "deploy.yaml", "-o", "json").out)
    same = two.runbook("diff", "staging", "staging", "deploy.yaml")

    assert config.status == told.status == same.status == 0, config.text + told.text
    lines = [line.split() for line in config.out.splitlines()]
    assert ["inputs.word", "environments/prod.yaml:2", "prod"] in lines
    assert ["inputs.word", "staging", "prod"] in [line.split() for line in told.out.splitlines()]
    assert as_json["runbooks"]["deploy.yaml"] == {
        "inputs.word": {"staging": "staging", "prod": "prod"},
        "protected": {"staging": None, "prod": True},
    }
    assert "come to the same" in same.out


ASKING = """\
runbook: v1
name: deploy
inputs:
  word: {type: string, help: "What to say."}
  times: {type: integer, minimum: 1}
  token: {type: string, sensitive: true, env: TOKEN}
  pin: {type: string, sensitive: true, env: PIN, required: false}
steps:
  - id: say
    uses: command
    rerun: safe
    with:
      script: 'echo "$WORD $TIMES ${#TOKEN} ${#PIN}" >> traces'
      environment:
        WORD: "${{ inputs.word }}"
        TIMES: "${{ inputs.times }}!"
        TOKEN: "${{ inputs.token }}"
        PIN: "${{ inputs.pin or '' }}"
"""


def test_a_person_is_asked_once_for_all_that_is_missing(desk: Desk) -> None:
    desk.write("deploy.yaml", ASKING)
    terminal = desk.on_terminal("run", "deploy.yaml")

    for question, answer in (
        ("What to say.", "hello"),
        ("times: ", "many"),
        ("expected a whole number, found `many`", "3"),
        ("token: ", "canary-9"),
    ):
        terminal.expect_exact(question)
        terminal.sendline(answer)
    terminal.expect("succeeded")
    terminal.close()

    assert desk.traces == ["hello", "3!", "8", "0"]
    told = desk.runbook("run", "deploy.yaml")
    assert told.status == 2
    assert "add --set word=STRING --set times=INTEGER\n          export TOKEN=…" in told.err
