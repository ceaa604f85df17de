"""`runbook plan`: what is known beforehand is told, and the world is neither asked nor touched."""

from pathlib import Path

import pytest

from runbook.errors import ExitStatus
from tests.cli.conftest import Cli

SHIP = """\
runbook: v1
name: ship
summary: Ship a release.
inputs:
  release: {type: string}
  channel: {type: choice, choices: [stable, beta], default: stable}
  pin: {type: string, sensitive: true, env: PIN}
vars:
  image: "shop:${{ inputs.release }}"
  login: "shop:${{ secrets.printed }}"
  pw: ${{ secrets.given }}
secrets:
  printed: {command: [sh, -c, "touch fetched; echo canary-printed"]}
  stored: {file: stored}
  given: {env: GIVEN}
resources:
  db: {postgres: {host: db.example.org, database: shop, user: shop, password: "${{ vars.pw }}"}}
steps:
  - {id: dump, uses: backup_db, with: {database: db}}
  - id: push
    uses: command
    rerun: safe
    with:
      argv: [push, "${{ vars.image }}"]
      environment: {LOGIN: "${{ vars.login }}", KEY: "${{ secrets.stored }}"}
  - id: tell
    uses: command
    rerun: safe
    with:
      argv: [tell, "${{ inputs.channel }}"]
      environment: {GIVEN: "${{ secrets.given }}", PIN: "${{ inputs.pin }}"}
    when: inputs.channel == 'stable'
    retry: {attempts: 3}
    timeout: 90s
    on_error: {continue: nobody waits for it}
  - {id: beta, uses: wait, with: {for: 5s}, when: inputs.channel == 'beta'}
finally:
  - {id: clean, uses: command, rerun: safe, with: {argv: [clean, "${{ inputs.channel }}"]}}
on_failure:
  runbook: unship.yaml
  after: dump
  with: {channel: "${{ inputs.channel }}", pushed: "${{ steps.push.changed }}"}
"""
UNSHIP = """\
runbook: v1
name: unship
for: ship.yaml
inputs:
  channel: {type: string}
  pushed: {type: boolean, default: true}
steps:
  - id: pull
    uses: command
    rerun: safe
    with: {argv: [pull, "${{ inputs.channel }}"]}
    when: inputs.pushed
    undoes: [push, tell]
"""


@pytest.fixture
def ship(project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A runbook with a secret of each origin; no program can be found."""
    folder = project / "runbooks"
    (folder / "ship.yaml").write_text(SHIP)
    (folder / "unship.yaml").write_text(UNSHIP)
    (folder / "stored").write_text("canary-stored")
    monkeypatch.setenv("GIVEN", "canary-given")
    monkeypatch.setenv("PIN", "canary-pin")
    monkeypatch.setenv("PATH", "")
    return "runbooks/ship.yaml"


def test_what_is_known_is_told_and_the_rest_is_shown_as_it_is_written(ship: str, cli: Cli) -> None:
    text = cli("plan", ship, "--by-hand").out

    for line in (
        "release  not given: --set release=…",
        "pin      secret ($PIN)",
        'argv: ["push", "${{ vars.image }}"] (known only later)',
        "run `tell stable`",
        "only when inputs.channel == 'stable' (it holds)",
        "up to 3 attempts",
        "timeout 1m30s",
        "its failure does not fail the run: nobody waits for it",
        '$ GIVEN="$GIVEN" PIN="$PIN" tell stable',
        "only when inputs.channel == 'beta' (it does not hold: skipped)",
        "A failure of a step after `dump` starts the rollback:",
        "pushed   known only later: ${{ steps.push.changed }}",
        "run `pull stable`",
        "only when inputs.pushed (known only later)",
        "undoes push, tell",
    ):  # fmt: skip
        assert line in text
    assert text.count("run `clean stable`") == text.count("at the end, however it ends") == 2
    assert "sleep" not in text


def test_an_input_that_is_given_is_known_wherever_it_goes(ship: str, cli: Cli) -> None:
    text = cli("plan", ship, "--set", "release=v2", "--by-hand").out

    assert "run `push shop:v2`" in text
    assert '$ LOGIN="$LOGIN" KEY="$KEY" push shop:v2' in text


@pytest.mark.parametrize("more", [["--by-hand"], ["-o", "json"]])
def test_a_plan_shows_no_secret_and_leaves_no_trace(
    more: list[str], ship: str, cli: Cli, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))

    told = cli("plan", ship, "--set", "release=v2", *more)

    assert told.status == ExitStatus.SUCCEEDED
    assert "canary" not in told.out + told.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_as_json_has_all_that_the_text_has(ship: str, cli: Cli) -> None:
    document = cli("plan", ship, "-o", "json").document

    push = document["steps"][1]
    assert document["format"] == "runbook.plan/1"
    assert [step["id"] for step in document["steps"]] == ["dump", "push", "tell", "beta", "clean"]
    assert document["inputs"][1] == {
        "name": "channel", "type": "choice", "value": "stable", "note": None
    }  # fmt: skip
    assert (push["kind"], push["effect"], push["commands"]) == ("command", "changes", [])
    assert push["later"] == ["argv"]
    assert push["parameters"]["argv"] == ["push", "${{ vars.image }}"]
    assert [step["is_wanted"] for step in document["steps"]] == [True, True, True, False, True]
    assert document["after"] == "dump"
    assert document["rollback"]["steps"][0]["is_wanted"] is None


@pytest.mark.parametrize(
    "wrong", [["ship.yaml", "--set", "relase=v2"], ["ship.yaml", "--set", "channel=x"], ["no.yaml"]]
)
def test_what_a_run_refuses_a_plan_refuses_in_the_same_words(
    wrong: list[str], ship: str, cli: Cli
) -> None:
    arguments = [str(Path(ship).parent / wrong[0]), *wrong[1:]]

    planned, run = cli("plan", *arguments), cli("run", *arguments, "--set", "release=v2")

    assert planned.status == run.status == ExitStatus.INVALID
    assert planned.err == run.err


def test_a_runbook_without_a_rollback_says_so(cli: Cli) -> None:
    assert "a failure is not rolled back" in cli("plan", "runbooks/slow.yaml").out
    assert "rolled back" not in cli("plan", "runbooks/plain.yaml").out
