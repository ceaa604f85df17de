import gzip
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import Unfit
from runbook.resources import Postgres
from runbook.restore.databases import way_of

DATABASE = Postgres(name="db", host="127.0.0.1", port=1, database="shop", user="boss")
HEADER_BYTES = 10


def test_a_dump_whose_bytes_were_changed_is_damaged_and_nothing_of_it_stays(
    make_context: Any, tmp_path: Path
) -> None:
    packed = bytearray(gzip.compress(b"INSERT INTO a VALUES (1);\n"))
    packed[HEADER_BYTES] = 0xFF  # no block begins so
    dump, staging = tmp_path / "db.sql.gz", tmp_path / "staging"
    dump.write_bytes(packed)

    with pytest.raises(Unfit, match="is damaged"):
        way_of(DATABASE).import_dump(dump, staging, make_context())

    assert [path for path in staging.rglob("*") if path.is_file()] == []
