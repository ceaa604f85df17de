"""preflight: what is missing, and what is broken already."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import Unfit
from runbook.kinds import PlanStep
from runbook.resources import Directory, Git, Process, Sqlite
from runbook.steps import backup_db, http_check, process_up, record_commit
from runbook.steps.backup_db import BackupDb
from runbook.steps.http_check import HttpCheck
from runbook.steps.preflight import STEP, Fit, Preflight
from runbook.steps.process_up import ProcessUp
from runbook.steps.record_commit import RecordCommit
from runbook.tools import daemon


def check_step(url: str, **fields: Any) -> PlanStep:
    spec = HttpCheck.model_validate({"checks": [{"get": url, **fields}]})
    return PlanStep(id="verify", kind=http_check.STEP, spec=spec, is_rollback=False)


def run(context: Any, **fields: Any) -> Fit:
    outcome = STEP.run(Preflight.model_validate(fields), context)
    assert isinstance(outcome, Fit)
    return outcome


def start(process: Process, context: Any) -> None:
    process_up.STEP.run(ProcessUp(process=process), context)


def test_the_very_first_deploy_passes_and_discounts_nothing(
    service: Any, make_context: Any, tmp_path: Path
) -> None:
    resources = {
        "web": service.process,
        "db": Sqlite(path=tmp_path / "data" / "shop.db", name="db"),
        "uploads": Directory(path=tmp_path / "uploads", name="uploads"),
        "code": Git(path=tmp_path / "code", name="code"),
    }
    context = make_context(resources=resources, plan_steps=[check_step(service.url)])

    fit = run(context, healthy="required")

    assert (fit.served, fit.running, fit.broken) == (False, [], {})
    assert fit.free_bytes > 0


def test_what_is_broken_while_it_is_served_is_recorded(service: Any, make_context: Any) -> None:
    step = check_step(service.url, contains="release 2")
    context = make_context(resources={"web": service.process}, plan_steps=[step])
    start(service.process, make_context(step_id="up"))

    fit = run(context)

    assert (fit.served, fit.running) == (True, ["web"])
    assert list(fit.broken.values()) == ["status 200 without `release 2`"]
    with pytest.raises(Unfit, match="not healthy"):
        run(context, healthy="required")


def test_a_process_that_has_fallen_over_is_not_discounted_but_is_unhealthy(
    service: Any, make_context: Any, eventually: Any
) -> None:
    resources = {"web": service.process}
    context = make_context(resources=resources, plan_steps=[check_step(service.url)])
    start(service.process, context)
    running = daemon.find_running(context.state_dir, "shop", "web")
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    eventually(lambda: not daemon.is_alive(running), "the process is gone")

    fit = run(context)

    assert (fit.served, fit.broken) == (False, {})
    with pytest.raises(Unfit, match="`web` does not run"):
        run(context, healthy="required")


def test_a_check_of_a_process_that_does_not_run_counts_though_another_runs(
    web: Any, service: Any, make_context: Any
) -> None:
    web.answers = [(503, "")]
    idle = Process(name="idle", argv=["sleep", "600"], directory=service.process.directory)
    steps = [check_step(service.url), check_step(web.url)]
    resources = {"web": service.process, "idle": idle}
    context = make_context(resources=resources, plan_steps=steps)
    start(idle, make_context(step_id="up"))

    fit = run(context)

    daemon.stop(idle, state_dir=context.state_dir, project="shop")
    assert list(fit.broken.values()) == ["status 503"]


def test_everything_that_is_missing_is_named_at_once(
    web: Any, make_context: Any, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "file").touch()
    absent = Process(name="web", argv=["no-such-program"], directory=tmp_path)
    up = PlanStep(id="up", kind=process_up.STEP, spec=ProcessUp(process=absent), is_rollback=False)
    resources = {
        "web": absent,
        "code": Git(path=tmp_path / "plain", name="code"),
    }
    db = Sqlite(path=tmp_path / "file" / "shop.db", name="db")
    dump = PlanStep(id="dump", kind=backup_db.STEP, spec=BackupDb(database=db), is_rollback=False)
    record = PlanStep(
        id="commit",
        kind=record_commit.STEP,
        spec=RecordCommit(repository=resources["code"]),
        is_rollback=False,
    )
    context = make_context(resources=resources, plan_steps=[up, dump, record])

    with pytest.raises(Unfit) as caught:
        run(context, free_disk="100TB", checks=[{"get": web.url, "status": 201}])

    for part in (
        "5 things",
        "no-such-program",
        "not a git work tree",
        "not a directory",
        "bytes",
        "201",
    ):
        assert part in caught.value.message


def test_the_room_that_all_steps_take_is_added_up(
    make_context: Any, tmp_path: Path, full_disk: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE blobs AS SELECT zeroblob(1200000)")
        connection.commit()
    db = Sqlite(path=tmp_path / "shop.db", name="db")
    steps = [
        PlanStep(id=name, kind=backup_db.STEP, spec=BackupDb(database=db), is_rollback=False)
        for name in ("first", "second")
    ]
    enough = make_context(state_dir=full_disk, plan_steps=steps[:1])
    too_little = make_context(state_dir=full_disk, plan_steps=steps)

    run(enough)
    with pytest.raises(Unfit, match=r"the backup of .* needs 2\.9 MB"):
        run(too_little)


def test_a_step_whose_parameters_are_not_known_yet_is_passed_over(make_context: Any) -> None:
    unknown = PlanStep(id="later", kind=http_check.STEP, spec=None, is_rollback=True)

    assert run(make_context(plan_steps=[unknown])).broken == {}
