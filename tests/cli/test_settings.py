"""Under whose name a person acts, and where the state lies."""

import os
import pwd
from pathlib import Path

import pytest

import runbook.settings
from runbook.errors import StateDirUnfit
from runbook.settings import acting_user, load_settings

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
OTHER = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)


@pytest.mark.parametrize(
    ("sudo_user", "login_uid", "expected"),
    [
        ("ann", "4294967295", "ann"),
        ("ann", "0", "ann"),
        ("root", str(OTHER.pw_uid), OTHER.pw_name),  # sudo sudo
        ("", str(OTHER.pw_uid), OTHER.pw_name),  # su, and sudo -u
        ("", "0", ACCOUNT),
        ("root", "4294967295", ACCOUNT),
        ("", "", ACCOUNT),
    ],
)
def test_behind_sudo_and_su_stands_who_logged_in(
    tmp_path: Path, sudo_user: str, login_uid: str, expected: str
) -> None:
    (tmp_path / "loginuid").write_text(login_uid)

    name = acting_user({"SUDO_USER": sudo_user}, tmp_path / "loginuid")

    is_believed = os.geteuid() == 0 or sudo_user != "ann"
    assert name == (expected if is_believed else ACCOUNT)


def test_the_users_own_journal_is_named_where_the_systems_is_not_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runbook").mkdir()
    (tmp_path / "runbook" / "journal.db").touch()
    monkeypatch.setattr(runbook.settings, "SYSTEM_STATE_DIR", Path("/proc/sys/kernel/ostype"))

    with pytest.raises(StateDirUnfit) as caught:
        load_settings({"XDG_STATE_HOME": str(tmp_path)}, state_dir=None, is_interactive=False)

    assert f"runbook --state-dir {tmp_path / 'runbook'} status" in (caught.value.hint or "")
