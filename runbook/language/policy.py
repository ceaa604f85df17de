"""What an environment's `policy` makes of a plan: data to look at, and a first step that asks.

None of it is demanded of a way back.
"""

from dataclasses import replace

from runbook.core.plan import WEEK, Effect, Json, Plan, PlannedStep, Policy, Rerun, Window
from runbook.language.source import Node

APPROVAL = "policy_approval"
"""Id of the step that asks; a runbook with a step of that id has `policy_approval_2`, and so on."""


def planned_policy(node: Node | None) -> Policy:
    """What is looked at before a run starts."""
    if node is None:
        return Policy()
    revisions, window = node.get("revisions"), node.get("window")
    return Policy(
        revisions=tuple(str(item.value) for item in revisions.items) if revisions else None,
        window=_window(window) if window else None,
    )


def _window(node: Node) -> Window:
    days = node.get("days")
    return Window(
        days=tuple(str(item.value) for item in days.items) if days else WEEK,
        begins=node.text_of("from") or "00:00",
        ends=node.text_of("to") or "24:00",
        timezone=node.text_of("timezone") or "UTC",
    )


def with_approval(plan: Plan, policy: Node | None, place: str) -> Plan:
    """The plan that first waits for the approvals that the policy demands; `place` has its line."""
    approvals = policy.get("approvals") if policy else None
    if approvals is None or plan.undoes is not None:
        return plan
    given: dict[str, Json] = {name: entry.node.value for name, entry in approvals.entries.items()}
    step = PlannedStep(
        id=_free_id(plan),
        kind="approval",
        name="What the environment's policy demands",
        params={"message": _message(plan), **given},
        effect=Effect.READS,
        rerun=Rerun.SAFE,
        timeout_s=600.0,
        place=place,
    )
    rest = (
        other if other.needs or other.is_finally else replace(other, needs=(step.id,))
        for other in plan.steps
    )
    return replace(plan, steps=(step, *rest))


def _message(plan: Plan) -> str:
    """What they approve; values are put in when it is asked, and no text of theirs is evaluated."""
    told = [
        f"{name}=${{{{ inputs.{name} }}}}"
        for name, declaration in plan.input_types.items()
        if name in plan.inputs and not _is_sensitive(declaration)
    ]
    return f"{plan.runbook} -> {plan.environment}" + (f", {', '.join(told)}" if told else "")


def _is_sensitive(declaration: Json) -> bool:
    return isinstance(declaration, dict) and declaration.get("sensitive") is True


def _free_id(plan: Plan) -> str:
    taken = {step.id for step in plan.steps}
    number = 1
    while (name := APPROVAL if number == 1 else f"{APPROVAL}_{number}") in taken:
        number += 1
    return name
