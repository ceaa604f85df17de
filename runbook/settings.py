"""What the program runs with: flags > environment > default."""

import os
import pwd
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import StateDirUnfit

LOGIN_UID = Path("/proc/self/loginuid")
SYSTEM_STATE_DIR = Path("/var/lib/runbook")
_CHOOSE = "choose another by --state-dir or RUNBOOK_STATE_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One process's settings."""

    state_dir: Path
    """Where journal, locks, logs and restore points lie; outside every work tree."""
    is_state_dir_named: bool
    """Whether somebody has named it: then it must be there, unless a run begins in it."""
    environ: Mapping[str, str]
    user: str
    is_interactive: bool
    """Whether a person sits at a terminal that we may ask."""

    @property
    def journal(self) -> Path:
        """The journal's file, which the first run makes."""
        return self.state_dir / "journal.db"

    def require_state_dir(self) -> None:
        """Refuse a state directory that cannot be looked into; raises StateDirUnfit.

        That there is none is no mistake where it is the default, and nothing has run yet.
        """
        what = None
        if not self.state_dir.is_dir():
            is_absent = not os.path.lexists(self.state_dir)
            if is_absent and not self.is_state_dir_named:
                return
            what = "is not there" if is_absent else "is no directory"
        elif not os.access(self.state_dir, os.R_OK | os.X_OK):
            what = "is not ours to read"
        if what:
            raise StateDirUnfit(f"the state directory `{self.state_dir}` {what}", hint=_CHOOSE)

    def make_state_dir(self) -> None:
        """Make the state directory if need be; raises StateDirUnfit."""
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StateDirUnfit(
                f"the state directory `{self.state_dir}` cannot be made:"
                f" {(error.strerror or '').lower()}",
                hint=_CHOOSE,
            ) from error


def load_settings(
    environ: Mapping[str, str], *, state_dir: str | None, is_interactive: bool
) -> Settings:
    """Settings from what the command line and the environment say; raises StateDirUnfit."""
    named = state_dir or environ.get("RUNBOOK_STATE_DIR")
    return Settings(
        state_dir=Path(named).absolute() if named else _default_state_dir(environ),
        is_state_dir_named=bool(named),
        environ=environ,
        user=acting_user(environ),
        is_interactive=is_interactive,
    )


def acting_user(environ: Mapping[str, str], login_uid: Path = LOGIN_UID) -> str:
    """Who acts, which approvals go by: behind sudo and su the one who logged in."""
    sudo_user = environ.get("SUDO_USER", "") if os.geteuid() == 0 else ""
    return sudo_user if sudo_user not in ("", "root") else _login(login_uid) or _account()


def _login(uid: Path) -> str | None:
    """The account that this session was logged in by, as PAM has noted it.

    None: it has not, as in containers, or that was root, of whom every service may come.
    """
    try:
        name = pwd.getpwuid(int(uid.read_text())).pw_name
    except (OSError, ValueError, KeyError, OverflowError):
        return None
    return name if name != "root" else None


def _account() -> str:
    """The account's name; its number where the system has no name for it, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _default_state_dir(environ: Mapping[str, str]) -> Path:
    """`/var/lib/runbook` where we may write it, else XDG; never a second journal in silence."""
    if SYSTEM_STATE_DIR.exists():
        if not os.access(SYSTEM_STATE_DIR, os.W_OK):
            raise StateDirUnfit(
                f"`{SYSTEM_STATE_DIR}` exists and is not ours to write",
                hint=f"run as its owner (sudo), or {_CHOOSE}{_own_journal(environ)}",
            )
        return SYSTEM_STATE_DIR
    if os.access(SYSTEM_STATE_DIR.parent, os.W_OK):
        return SYSTEM_STATE_DIR
    return _user_state_dir(environ)


def _own_journal(environ: Mapping[str, str]) -> str:
    """What to type where the user has a journal of his own, from before there was the system's."""
    with suppress(StateDirUnfit):
        own = _user_state_dir(environ)
        if (own / "journal.db").exists():
            return f"; your own journal:\nrunbook --state-dir {shlex.quote(str(own))} status"
    return ""


def _user_state_dir(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_STATE_HOME")
    try:
        return Path(base or Path("~/.local/state").expanduser(), "runbook").absolute()
    except RuntimeError as error:
        raise StateDirUnfit(
            "there is no home directory to keep the state in", hint=_CHOOSE
        ) from error


def invocation(environ: Mapping[str, str], state_dir: str | None) -> str:
    """How the user can call this program again: what a hint may say and be typed as it stands."""
    program = Path(sys.argv[0])
    for folder in environ.get("PATH", "").split(os.pathsep):
        if folder and Path(folder, "runbook") == program.absolute():
            command = "runbook"
            break
    else:
        if program.name == "__main__.py":
            command = f"{shlex.quote(sys.executable)} -m runbook"
        else:
            near = os.path.relpath(program) if program.exists() else "runbook"
            # A bare name would be looked up in PATH, where it is not.
            is_bare = program.exists() and "/" not in near
            command = shlex.quote(f"./{near}" if is_bare else near)
    return f"{command} --state-dir {shlex.quote(state_dir)}" if state_dir else command


def shipped(name: str) -> Path:
    """A file or folder that comes with the program: inside the wheel, or beside the package."""
    package = Path(__file__).parent
    inside = package / "shipped" / name
    return inside if inside.exists() else package.parent / name
