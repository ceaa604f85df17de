"""Sensitive inputs and secrets are nowhere recorded: who goes on with a run gives them again."""

import os

import pytest

from tests.scenarios.conftest import Desk

pytestmark = pytest.mark.slow

DEPLOY = """\
runbook: v1
name: deploy
inputs:
  pin: {type: integer, sensitive: true, env: PIN, minimum: 1000, help: Of the vault.}
secrets:
  one: {env: ONE}
  two: {file: two.txt}
steps:
  - {id: first, uses: command, rerun: safe, with: {script: 'echo first >> traces'}}
  - id: second
    uses: command
    rerun: safe
    with:
      script: 'test -e gate && echo "$PIN" >> traces'
      environment: {PIN: "${{ inputs.pin }}", ONE: "${{ secrets.one }}${{ secrets.two }}"}
"""


@pytest.fixture
def keeper(desk: Desk) -> Desk:
    """A desk whose deploy fails until its gate is open, and which has all secrets but the PIN."""
    desk.write("deploy.yaml", DEPLOY)
    desk.write("two.txt", "canary2")
    desk.environ["ONE"] = "canary1"
    return desk


def test_what_was_typed_at_the_start_is_asked_for_again_once_and_checked(keeper: Desk) -> None:
    first = keeper.on_terminal("run", "deploy.yaml")
    first.expect("Of the vault.")
    first.expect("pin: ")
    first.sendline("987")
    first.expect("expected at least `1000`, found another value")
    first.sendline("98765")
    first.expect("FAILED")
    first.wait()
    keeper.open_gate()
    second = keeper.on_terminal("resume")
    second.expect("pin: ")
    second.sendline("98766")
    second.expect("succeeded")
    second.wait()

    assert second.exitstatus == 0
    assert keeper.traces == ["first", "98766"]


def test_without_a_terminal_all_that_is_missing_is_told_at_once(keeper: Desk) -> None:
    keeper.runbook("run", "deploy.yaml", PIN="98765")
    keeper.environ.clear()
    (keeper.root / "two.txt").unlink()
    missing = keeper.runbook("resume")
    unfit = keeper.runbook("resume", PIN="98765x", ONE="canary1\udcff")
    keeper.write("two.txt", "canary2\0")
    nul = keeper.runbook("resume", PIN="987", ONE="canary1")
    keeper.write("two.txt", "canary2")
    low = keeper.runbook("resume", PIN="987", ONE="canary1")

    assert [told.status for told in (missing, unfit, nul, low)] == [2] * 4, missing.text
    for part in ("`pin` is missing", "`one` is missing", "`two` is missing", "export PIN=… ONE=…"):
        assert part in missing.err
    assert "then run the same command again" in missing.err
    assert "`ONE` is not UTF-8 text" in unfit.err
    assert "secret `two` is unusable: it holds a NUL character" in nul.err
    assert "input `pin` (PIN): expected at least `1000`, found another value" in low.err
    for told in (missing, unfit, nul, low):
        assert "987" not in told.text
        assert "canary" not in told.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act under the name of another account")
def test_whoever_approves_without_the_secrets_is_told_how_the_run_goes_on(keeper: Desk) -> None:
    keeper.environ["SUDO_USER"] = "ann"
    ask = "  - {id: ok, uses: approval, with: {message: Go on?}}\n"
    keeper.write("deploy.yaml", DEPLOY.replace("  - id: second", f"{ask}  - id: second"))
    keeper.open_gate()
    parked = keeper.runbook("run", "deploy.yaml", PIN="98765")
    del keeper.environ["ONE"]
    approved = keeper.runbook("approve", SUDO_USER="bob")
    lines = approved.err.rstrip().splitlines()
    resumed = keeper.typed(f"PIN=98765 ONE=canary1 {lines[-1].strip()}")

    assert (parked.status, approved.status, resumed.status) == (5, 2, 0), resumed.text
    assert "approved, but the run cannot go on here" in approved.err
    assert "export PIN=… ONE=…" in approved.err
    assert "same command" not in approved.err
    assert lines[-1].split()[-2] == "resume"


def test_a_secret_that_no_header_can_carry_is_named_with_its_place(keeper: Desk) -> None:
    keeper.write("two.txt", "canary2\n\n")
    keeper.write(
        "deploy.yaml",
        "runbook: v1\nname: deploy\nsecrets: {two: {file: two.txt}}\n"
        'vars: {bearer: "B ${{ secrets.two }}"}\n'
        "steps:\n"
        '  - {id: ask, uses: http_check, with: {checks: [{get: "http://127.0.0.1:9/",'
        ' headers: {Authorization: "${{ vars.bearer }}"}}]}}\n',
    )

    told = keeper.runbook("run", "deploy.yaml")

    assert told.status == 1, told.text
    said = " ".join(told.out.split())
    assert "header `Authorization` cannot be sent: `secrets.two` holds a line break" in said
    assert "canary2" not in told.text
