"""A deploy that migrates a PostgreSQL database and fails is rolled back, whenever it is killed."""

import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Eventually
from tests.real.conftest import MakeStack
from tests.real.postgres_shop import COMPOSE, Shop, bring_up
from tests.scenarios.conftest import Place

pytestmark = [pytest.mark.real, pytest.mark.slow]
ROWS = 60_000
MIGRATION = "CREATE TABLE broken (n int)"
PROJECT = """
    project: {project}
    secrets:
      password: {{env: PGPASSWORD_OF_BOSS}}
    resources:
      stack: {{compose: {{project: {project}, files: [{root}/compose.yaml]}}}}
      db:
        postgres:
          service: stack/postgres
          database: shop
          user: boss
          password: ${{{{ secrets.password }}}}
"""
DEPLOY = """
    runbook: v1
    name: deploy
    steps:
      - {id: preflight, uses: preflight}
      - {id: dump, uses: backup_db, with: {database: db}}
      - {id: restore_point, uses: seal_restore_point, with: {verify: VERIFY}}
      - id: migrate
        uses: command
        with:
          argv: [docker, exec, CONTAINER, psql, -U, boss, -d, shop, -c, MIGRATION]
          changes: db
        rerun: safe
      - id: look
        uses: sql_check
        with:
          database: db
          checks: [{query: "SELECT count(*) FROM broken", equals: 1}]
    on_failure:
      runbook: rollback.yaml
      after: restore_point
      with: {data: "${{ 'restore' if steps.migrate.changed else 'keep' }}"}
"""
ROLLBACK = """
    runbook: v1
    name: rollback
    for: deploy.yaml
    inputs:
      data: {type: choice, choices: [restore, keep]}
    steps:
      - {id: point, uses: load_restore_point}
      - id: stage
        uses: restore_db
        with: {database: db, phase: stage}
        when: inputs.data == 'restore'
      - id: switch
        uses: restore_db
        with: {database: db, phase: switch}
        when: inputs.data == 'restore'
        undoes: [migrate]
      - id: whole
        uses: sql_check
        with:
          database: db
          checks: [{query: "SELECT count(*) FROM orders WHERE id > 0", equals: ROWS}]
"""


@dataclass(kw_only=True)
class Deployment:
    """Runbooks beside a stack, and the program."""

    shop: Shop
    place: Place

    def write(
        self, *, verify: str = "restore", migration: str = "CREATE TABLE broken (n int)"
    ) -> None:
        """Write the three runbooks."""
        stack = self.shop.stack
        container = f"{stack.project}-postgres-1"
        deploy = DEPLOY.replace("CONTAINER", container).replace("VERIFY", verify)
        texts = {
            "project.yaml": PROJECT.format(project=stack.project, root=stack.root),
            "deploy.yaml": deploy.replace("MIGRATION", f'"{migration}"'),
            "rollback.yaml": ROLLBACK.replace("ROWS", str(ROWS)),
        }
        for name, text in texts.items():
            (self.place.root / name).write_text(textwrap.dedent(text))

    def orders(self, database: str = "shop") -> tuple[int, int]:
        """How many there are, and how many of them were written meanwhile."""
        query = "SELECT count(*) FILTER (WHERE id > 0), count(*) FILTER (WHERE id <= 0) FROM orders"
        before, meanwhile = self.shop.sql(query, database).split("|")
        return int(before), int(meanwhile)

    def has_table(self, name: str, database: str = "shop") -> bool:
        return self.shop.sql(f"SELECT to_regclass('{name}') IS NOT NULL", database) == "t"


@pytest.fixture
def deployment(make_stack: MakeStack, tmp_path: Path, eventually: Eventually) -> Deployment:
    stack = make_stack(COMPOSE.format(version="17"))
    bring_up(stack)
    shop = Shop(stack=stack)
    shop.sql(
        "CREATE TABLE orders AS SELECT n AS id, md5(n::text) AS item"
        f" FROM generate_series(1, {ROWS}) n; ALTER TABLE orders ADD PRIMARY KEY (id)"
    )
    root = tmp_path / "runbooks"
    root.mkdir()
    place = Place(root=root, eventually=eventually, environ={"PGPASSWORD_OF_BOSS": "hush"})
    return Deployment(shop=shop, place=place)


def test_a_failed_migration_is_rolled_back_to_the_way_back_that_was_prepared(
    deployment: Deployment,
) -> None:
    deployment.write()

    told = deployment.place.runbook("run", "deploy.yaml")

    assert told.status == 3, told.text
    assert deployment.orders() == (ROWS, 0)
    assert not deployment.has_table("broken")
    assert "hush" not in told.text
    for file in deployment.place.state.rglob("*"):
        assert not file.is_file() or b"hush" not in file.read_bytes(), file


def test_a_migration_that_changes_nothing_is_rolled_back_and_the_data_is_kept(
    deployment: Deployment,
) -> None:
    deployment.write(migration="INSERT INTO orders VALUES (0, 'a client meanwhile')")

    told = deployment.place.runbook("run", "deploy.yaml")

    assert told.status == 3, told.text
    assert deployment.orders() == (ROWS, 1)
    (warm,) = deployment.shop.databases() - {"shop"}
    assert "__rb_" in warm


def test_half_a_migration_that_touched_only_rows_is_rolled_back_with_the_data(
    deployment: Deployment,
) -> None:
    deployment.write(migration="UPDATE orders SET item = 'half'; COMMIT; SELECT 1 / 0")

    told = deployment.place.runbook("run", "deploy.yaml")

    assert told.status == 3, told.text
    assert "failed at `migrate`" in told.text
    assert deployment.shop.sql("SELECT count(*) FROM orders WHERE item = 'half'") == "0"


@pytest.mark.parametrize("verify", ["read_back", "restore"])
@pytest.mark.parametrize("kill", range(8))
def test_killed_at_any_moment_and_resumed_it_is_rolled_back_all_the_same(
    deployment: Deployment, verify: str, kill: int
) -> None:
    deployment.write(verify=verify)
    process = deployment.place.start("run", "deploy.yaml")
    deployment.place.eventually(lambda: deployment.place.has_begun, "the run is recorded", 30.0)
    time.sleep(0.3 * kill)  # not a wait: the instant of the kill
    was_over = process.poll() is not None
    deployment.place.kill(process)

    status = process.returncode if was_over else deployment.place.runbook("resume").status

    assert status == 3
    assert deployment.orders() == (ROWS, 0)
    assert not deployment.has_table("broken")
    (replaced,) = {name for name in deployment.shop.databases() if "__old_" in name}
    deployment.shop.sql(f'ALTER DATABASE "{replaced}" ALLOW_CONNECTIONS true', "postgres")
    assert deployment.has_table("broken", replaced)
    application = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'runbook%'"
    assert deployment.shop.sql(application) == "0"


@pytest.mark.parametrize("command", ["resume", "abort"])
def test_killed_while_everybody_is_kept_out_they_are_let_in_by_resume_and_by_abort(
    deployment: Deployment, command: str
) -> None:
    deployment.write()
    shop, place = deployment.shop, deployment.place
    with shop.frozen_session():
        process = place.start("run", "deploy.yaml")
        place.eventually(lambda: not shop.is_open(), "everybody is kept out", within_s=30.0)
        place.kill(process)
        assert not shop.is_open()
    (run_id,) = [run["id"] for run in place.history() if run["runbook"] == "rollback"]

    if command == "resume":
        told = place.runbook("resume")
        assert told.status == 3, told.text
    else:
        told = place.runbook("abort", run_id, "--reason", "mended by hand")
        assert told.status == 0, told.text

    assert shop.is_open()
    assert deployment.orders() == (ROWS, 0)
    assert deployment.has_table("broken") is (command == "abort")
