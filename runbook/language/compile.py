"""A runbook's files to one Plan. What is wrong with them: checking.py."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from runbook.core.plan import (
    SENSITIVE_INPUT,
    Json,
    JsonObject,
    OnFailure,
    Plan,
    PlannedResource,
    PlannedSecret,
    PlannedStep,
    Retry,
)
from runbook.errors import InputError, ParametersInvalid
from runbook.language.checking import read_valid
from runbook.language.document import Bundle, Declared, Document, Step
from runbook.language.effects import (
    after_step,
    effect_of,
    raw_parameters,
    rerun_of,
    resource_in,
)
from runbook.language.environments import other_bases
from runbook.language.expressions import Evaluator
from runbook.language.inputs import declared_defaults
from runbook.language.known_values import check_known_values, known_to
from runbook.language.pinning import pinned_files
from runbook.language.policy import planned_policy, with_approval
from runbook.language.source import Node
from runbook.registry import Registry
from runbook.units import parse_duration_s

SECRET_TIMEOUT_S = 10.0
"""How long a command that prints a secret may take, unless its `timeout` says otherwise."""


def compile_runbook(
    path: Path,
    *,
    registry: Registry,
    read: Callable[[JsonObject], JsonObject],
    environment: str | None = None,
    vars_files: Sequence[Path] = (),
) -> Plan:
    """The plan of a runbook; `read` gives, for the declarations of its inputs, their values.

    Raises:
        InvalidRunbook: carries all diagnostics.
        InputError: names all inputs that are missing, unknown or unfit.
    """
    bundle = read_valid(path, registry=registry, environment=environment, vars_files=vars_files)
    main = bundle.main
    plan = _plan(bundle, main, read(main.input_types))
    plan = replace(plan, vars=_computed_vars(plan, main))
    check_known_values(bundle, plan, registry)
    if bundle.rollback:
        plan = replace(plan, on_failure=_on_failure(bundle, plan))
    return with_approval(plan, bundle.policy, _policy_place(bundle))


def _policy_place(bundle: Bundle) -> str:
    layer, policy = bundle.layers.environment, bundle.policy
    return f"{layer.file}:{policy.span.line}" if layer and policy else ""


def planned_secrets(bundle: Bundle) -> dict[str, PlannedSecret]:
    """Every secret that a run of a runbook, or its rollback, would fetch."""
    documents = [doc for doc in (bundle.rollback, bundle.main) if doc]
    return {name: secret for doc in documents for name, secret in _secrets(doc).items()}


def changed_sources(plan: Plan) -> list[str]:
    """The files that a plan was compiled from, or pinned, and that are others or gone now."""
    found = dict(plan.sources)
    for step in (*plan.steps, *(plan.on_failure.plan.steps if plan.on_failure else ())):
        found |= {path: sha256(text.encode()).hexdigest() for path, text in step.files.items()}
    return [path for path, digest in found.items() if _digest_of(Path(path)) != digest]


def _digest_of(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


# --- the plan -------------------------------------------------------------------------------


def _plan(bundle: Bundle, document: Document, inputs: JsonObject) -> Plan:
    project = _project_name(document)
    environment = bundle.environment
    default_lock = f"{project}/{environment}" if environment else project
    undone = bundle.undone if document is bundle.main else bundle.main
    return Plan(
        runbook=document.name,
        summary=document.root.text_of("summary") or "",
        source=str(document.source.path.absolute()),
        sources=_sources(bundle),
        vars_files=tuple(str(file.path.absolute()) for file in bundle.layers.vars_files),
        project=project,
        environment=environment,
        is_protected=bundle.is_protected,
        policy=planned_policy(bundle.policy),
        lock=_lock(document) or default_lock,
        steps=_steps(document, undone),
        inputs=inputs,
        input_types=document.input_types,
        vars={name: declared.node.value for name, declared in document.vars.items()},
        secrets=_secrets(document),
        resources={name: _resource(declared) for name, declared in document.resources.items()},
        undoes=undone.name if undone else None,
    )


def _project_name(document: Document) -> str:
    named = document.project.root.text_of("project") if document.project else None
    folder = document.source.path.absolute().parent
    # `runbooks` is what everybody calls that folder: its name tells no two projects apart.
    return named or (folder.name == "runbooks" and folder.parent.name) or folder.name


def _lock(document: Document) -> str | None:
    own = document.root.text_of("lock")
    return own or (document.project.root.text_of("lock") if document.project else None)


def _secrets(document: Document) -> dict[str, PlannedSecret]:
    found = {name: _secret(declared) for name, declared in document.secrets.items()}
    for name, declared in document.inputs.items():
        sensitive = declared.node.get("sensitive")
        if sensitive and sensitive.value is True:
            variable = declared.node.text_of("env") or ""
            required = declared.node.get("required")
            found[SENSITIVE_INPUT + name] = PlannedSecret(
                provider="env",
                reference=variable,
                is_required=required is None or required.value is not False,
            )
    return found


def _secret(declared: Declared) -> PlannedSecret:
    variable = declared.node.text_of("env")
    if variable is not None:
        return PlannedSecret(provider="env", reference=variable)
    command, timeout = declared.node.get("command"), declared.node.get("timeout")
    if command is not None:
        return PlannedSecret(
            provider="command",
            reference=str(declared.base.absolute()),
            argv=tuple(str(word.value) for word in command.items),
            timeout_s=_duration_s(timeout.value) if timeout else SECRET_TIMEOUT_S,
        )
    path = Path(declared.base, declared.node.text_of("file") or "")
    return PlannedSecret(provider="file", reference=str(path.absolute()))


def _resource(declared: Declared) -> PlannedResource:
    kind, entry = next(iter(declared.node.entries.items()))
    params = entry.node.value if isinstance(entry.node.value, dict) else {}
    return PlannedResource(
        kind=kind,
        params=params,
        base=str(declared.base),
        bases=other_bases(declared.source, entry.node, declared.base),
    )


def _computed_vars(plan: Plan, document: Document) -> JsonObject:
    """Each variable's value; one that a secret, or an input without a value, goes into
    stays as it was written.
    """
    known = known_to(document, plan.inputs)
    scope = {
        "inputs": plan.inputs,
        "env": {"name": plan.environment, "protected": plan.is_protected},
    }
    return {
        name: _computed(name, declared, scope)
        if known.has(declared.node.value)
        else declared.node.value
        for name, declared in document.vars.items()
    }


def _computed(name: str, declared: Declared, scope: Mapping[str, object]) -> Json:
    try:
        computed: Json = Evaluator().value(declared.node.value, scope)
    except ParametersInvalid as error:
        message = f"variable `{name}`: {error.message}"
        where = declared.source.place_of(declared.node)
        raise InputError(message, hint=error.hint, where=where) from error
    return computed


def _sources(bundle: Bundle) -> dict[str, str]:
    return {str(source.path.absolute()): source.digest for source in bundle.sources()}


# --- steps ----------------------------------------------------------------------------------


def _steps(document: Document, undone: Document | None) -> tuple[PlannedStep, ...]:
    base = str(document.source.path.absolute().parent.resolve())
    return tuple(_step(document, undone, step, base) for step in document.steps)


def _step(document: Document, undone: Document | None, step: Step, base: str) -> PlannedStep:
    assert step.kind is not None
    node = step.node
    timeout = node.get("timeout")
    on_error = node.get("on_error")
    return PlannedStep(
        id=step.id,
        kind=step.kind_name,
        name=node.text_of("name") or "",
        params=dict(raw_parameters(step)),
        base=base,
        bases=other_bases(step.source, step.parameters, Path(base)),
        needs=tuple(needed.id for needed in step.needs),
        effect=effect_of(step),
        rerun=rerun_of(step),
        when=step.when,
        timeout_s=_duration_s(timeout.value) if timeout else step.kind.timeout_s,
        retry=_retry(node.get("retry")),
        continue_reason=on_error.text_of("continue") if on_error else None,
        undoes=tuple(undone_ids(step, undone)),
        holds=resource_in(step, step.kind.holds),
        guidance=node.text_of("guidance"),
        is_finally=step.is_finally,
        files=pinned_files(document, step),
        place=step.source.place_of(node),
    )


def undone_ids(step: Step, undone: Document | None) -> Iterator[str]:
    """The steps that a rollback's step undoes, as they were written out."""
    for node in step.undoes:
        name = str(node.value)
        yield from undone.planned_ids(name) if undone else (name,)


def _retry(node: Node | None) -> Retry:
    if node is None:
        return Retry()
    plain = Retry()
    values = {name: entry.node.value for name, entry in node.entries.items()}
    return Retry(
        attempts=int(float(str(values["attempts"]))),
        delay_s=_duration_s(values.get("delay", plain.delay_s)),
        factor=float(str(values.get("factor", plain.factor))),
        max_delay_s=_duration_s(values.get("max_delay", plain.max_delay_s)),
        jitter=float(str(values.get("jitter", plain.jitter))),
    )


def _duration_s(value: Json) -> float:
    assert isinstance(value, str | int | float)
    return parse_duration_s(value)


# --- the way back ---------------------------------------------------------------------------


def _on_failure(bundle: Bundle, parent: Plan) -> OnFailure:
    main, rollback = bundle.main, bundle.rollback
    on_failure = main.root.get("on_failure")
    after = after_step(main)
    assert rollback is not None and on_failure is not None and after is not None
    given = on_failure.get("with")
    defaults = declared_defaults(rollback.input_types)
    plan = _plan(bundle, rollback, defaults)
    steps = (*plan.steps, *_finally_of(parent, plan))
    return OnFailure(
        plan=replace(plan, steps=steps, lock=parent.lock),
        after=after.id,
        inputs=given.value if given and isinstance(given.value, dict) else {},
    )


def _finally_of(parent: Plan, rollback: Plan) -> Iterator[PlannedStep]:
    """The finally steps of the undone run, as last steps of its rollback."""
    taken = {step.id for step in rollback.steps}
    previous = next((step.id for step in reversed(rollback.steps) if step.is_finally), None)
    for step in parent.steps:
        if not step.is_finally:
            continue
        step_id = step.id
        while step_id in taken:
            step_id = f"undone_{step_id}"
        taken.add(step_id)
        needs = (previous,) if previous else ()
        yield replace(step, id=step_id, needs=needs, from_undone=True)
        previous = step_id
