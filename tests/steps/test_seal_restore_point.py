import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from runbook.core.plan import JsonObject
from runbook.errors import Unfit
from runbook.kinds import CompletedStep, Done, NotDone
from runbook.resources import Process
from runbook.restore.point import point_ids, staging_dir
from runbook.steps.seal_restore_point import STEP, SealRestorePoint


def completed(kind: str, outputs: JsonObject) -> CompletedStep:
    return CompletedStep(id=kind, kind=kind, outputs=outputs, changed=False)


def test_the_manifest_says_all_that_a_person_needs(shop: Any) -> None:
    shop.fill(rows=20)
    commit: JsonObject = {"repository": "code", "path": "/srv/shop", "commit": "a" * 40}
    shop.deployed.append(completed("record_commit", {**commit, "branch": None}))

    sealed = shop.back_up()

    directory = Path(sealed.path)
    manifest = json.loads((directory / "manifest.json").read_text())
    (database,), (volume,) = manifest["databases"], manifest["volumes"]
    stored = directory / database["artefact"]["path"]
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == database["artefact"]["sha256"]
    assert database["fingerprint"]["tables"]["orders"]["rows"] == 20
    assert (directory / volume["files"] / "sub" / ".hidden").read_text() == "before"
    assert manifest["commits"][0]["commit"] == "a" * 40
    assert "sqlite" in manifest["how_to_read"]
    assert sorted(p.name for p in directory.iterdir()) == [
        "databases",
        "manifest.json",
        "manifest.json.sha256",
        "volumes",
    ]
    private = [directory, directory / "databases", stored, directory / "manifest.json"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)


def test_before_anything_exists_all_is_recorded_as_absent(shop: Any) -> None:
    sealed = shop.back_up(verify="restore")

    manifest = json.loads((Path(sealed.path) / "manifest.json").read_text())
    assert manifest["databases"][0]["absent"] and manifest["volumes"][0]["absent"]


@pytest.mark.parametrize("running", [["web"], []])
def test_what_preflight_saw_running_is_recorded(shop: Any, running: list[str]) -> None:
    web = Process(name="web", argv=["web"], directory=shop.root)
    found: JsonObject = {"served": bool(running), "running": list(running), "broken": {}}
    shop.deployed.append(completed("preflight", found))

    ctx = shop.deploy_context("seal", resources={"web": web, "db": shop.db})
    sealed = shop.step("seal_restore_point", ctx)

    manifest = json.loads((Path(sealed.path) / "manifest.json").read_text())
    assert (sealed.served, manifest["processes"]) == (bool(running), {"web": bool(running)})


@pytest.mark.parametrize("verify", ["checksum", "read_back", "restore"])
def test_a_damaged_backup_is_not_sealed(shop: Any, verify: str) -> None:
    shop.fill()
    ctx = shop.deploy_context("seal")
    shop.step("backup_db", shop.deploy_context("dump"), database=shop.db)
    copy = staging_dir(ctx.state_dir, ctx.run_id) / "databases" / "db.sqlite"
    copy.write_bytes(copy.read_bytes()[:-1])

    with pytest.raises(Unfit, match="in place of"):
        shop.step("seal_restore_point", shop.deploy_context("seal"), verify=verify)

    assert point_ids(ctx.state_dir) == []


def test_a_resume_finds_the_one_that_it_has_sealed(shop: Any) -> None:
    shop.fill()
    assert STEP.probe is not None
    spec, ctx = SealRestorePoint(), shop.deploy_context("seal")

    before = STEP.probe(spec, ctx)
    shop.back_up()
    after = STEP.probe(spec, ctx)
    again = shop.step("seal_restore_point", shop.deploy_context("seal"))

    assert isinstance(before, NotDone)
    assert isinstance(after, Done) and after.outputs == again
    assert len(point_ids(ctx.state_dir)) == 1


def test_the_newest_two_warm_ways_back_are_kept(shop: Any) -> None:
    shop.fill()

    inodes = []
    for number in range(4):
        shop.deployed.clear()
        shop.back_up(run_id=f"deploy-{number}", verify="restore")
        inodes.append({p.stat().st_ino for p in shop.root.iterdir() if ".rb-" in p.name})

    assert [len(found) for found in inodes] == [1, 2, 2, 2]
    assert inodes[1] - inodes[2] and inodes[3] - inodes[2]


@pytest.mark.slow
def test_killed_at_any_moment_a_backup_is_made_once_and_whole(shop: Any, run_and_kill: Any) -> None:
    shop.fill(rows=2000)
    for number in range(60):
        (shop.uploads.path / f"f{number}").write_text(f"before {number}")
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("backup_db", {"database": shop.db}),
        ("snapshot_volume", {"volume": shop.uploads, "level": "stopped"}),
        ("seal_restore_point", {"verify": "restore"}),
    ]

    sealed: Any = None
    for kill in range(12):
        shop.deployed.clear()
        for kind, params in kinds:
            ctx = shop.deploy_context(kind, run_id=f"deploy-{kill}")
            run_and_kill(kind, ctx, params, after_s=kill * 0.004)
            sealed = shop.step(kind, ctx, **params)
        shop.undoing.clear()
        shop.load()

    points = Path(sealed.path).parent
    assert len(list(points.iterdir())) == 12
    assert shop.count_orders() == 2000
    assert len([p for p in shop.root.iterdir() if ".rb-" in p.name]) == 2
