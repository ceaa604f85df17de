"""What of a plan's processes and services runs now, and what has fallen."""

from runbook.errors import StepError
from runbook.kinds import Context
from runbook.resources import Compose, Process
from runbook.tools import daemon, docker


def running(ctx: Context) -> list[str]:
    """Names of the processes that run, and of the services, as `stack/service`."""
    return [name for name, is_running in _states(ctx).items() if is_running]


def fallen(ctx: Context) -> list[str]:
    """Names of those that were started, were not stopped, and do not run any more."""
    return [name for name, is_running in _states(ctx).items() if not is_running]


def _states(ctx: Context) -> dict[str, bool]:
    """Of everything that was started and not stopped, whether it runs."""
    found: dict[str, bool] = {}
    for name, resource in ctx.resources.items():
        if isinstance(resource, Process):
            if _is_process_running(name, ctx):
                found[name] = True
            elif daemon.is_recorded(ctx.state_dir, ctx.project, name):
                found[name] = False
        elif isinstance(resource, Compose):
            found |= {f"{name}/{key}": value for key, value in _services(resource).items()}
    return found


def _is_process_running(name: str, ctx: Context) -> bool:
    found = daemon.find_running(ctx.state_dir, ctx.project, name, sleep=ctx.sleep)
    return found is not None


def _services(stack: Compose) -> dict[str, bool]:
    """Of each service that has a container which the engine is to keep running."""
    try:
        with docker.engine() as client:
            there = docker.containers(client, stack.project)
            states = {each: each.attrs["State"] for each in there}
            policies = {each: each.attrs["HostConfig"].get("RestartPolicy") or {} for each in there}
    except StepError:
        return {}  # what needs the engine says so itself
    return {
        docker.service_of(each): bool(state["Running"]) and not state.get("Restarting")
        for each, state in states.items()
        if state["Running"] or policies[each].get("Name", "no") not in ("", "no")
    }
