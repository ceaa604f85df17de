"""Documents: a runbook with its project, its way back or what it undoes, as they were written.

Reading is forgiving: what the shape check has refused is left out, so that all else is checked too.
What must hold between the parts: names.py, unset.py, rules.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os.path import normpath
from pathlib import Path

from runbook.core.plan import JsonObject
from runbook.facts import KindFacts
from runbook.language.environments import Layers, laid_over
from runbook.language.meant import PROJECT_FILE, runbooks_meant
from runbook.language.reading import read_source
from runbook.language.schema import resource_fields, schema_for
from runbook.language.shape import check_shape
from runbook.language.source import Entry, Node, Source
from runbook.language.writing_out import write_out
from runbook.registry import Registry


@dataclass(slots=True, eq=False)
class Step:
    """One step as it was written."""

    source: Source
    node: Node
    id: str
    """Empty where it is missing or unfit."""
    kind_name: str
    kind: KindFacts | None
    """Absent where there is none of that name."""
    needs: tuple["Step", ...]
    is_finally: bool

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"step `{self.id}`" if self.id else "this step"

    @property
    def parameters(self) -> Node | None:
        """What stands under `with`."""
        node = self.node.get("with")
        return node if node and isinstance(node.value, dict) else None

    @property
    def when(self) -> str | None:
        """Its condition; a boolean as text."""
        node = self.node.get("when")
        if node is None or not isinstance(node.value, str | bool):
            return None
        return node.value.strip() if isinstance(node.value, str) else str(node.value).lower()

    @property
    def continues(self) -> bool:
        """Whether the run goes on when it fails."""
        node = self.node.get("on_error")
        return node is not None and "continue" in node.entries

    @property
    def undoes(self) -> list[Node]:
        """The ids under `undoes`."""
        node = self.node.get("undoes")
        return [item for item in node.items if isinstance(item.value, str)] if node else []

    def before(self) -> "Iterator[Step]":
        """Every step that is surely over before this one starts."""
        seen: set[int] = set()
        pending = list(self.needs)
        while pending:
            step = pending.pop()
            if id(step) not in seen:
                seen.add(id(step))
                pending.extend(step.needs)
                yield step


@dataclass(frozen=True, slots=True)
class Declared:
    """A named thing of a runbook or its project, with the file that names it."""

    source: Source
    entry: Entry

    @property
    def node(self) -> Node:
        """What stands under its name."""
        return self.entry.node

    @property
    def base(self) -> Path:
        """Where relative paths in it start; some parameters may lie in another file."""
        return self.source.folder_of(self.node)


@dataclass(eq=False)
class Document:
    """A runbook as it was written, with what its project adds."""

    source: Source
    project: Source | None
    resource_fields: Mapping[str, tuple[str, ...]]
    """What each resource type has, by the language's word for the type."""
    steps: list[Step] = field(default_factory=list)
    """In order of the file, finally steps last."""

    @property
    def root(self) -> Node:
        """The runbook's top mapping."""
        return self.source.root

    @property
    def name(self) -> str:
        """The runbook's name; empty where it has none."""
        return self.root.text_of("name") or ""

    @cached_property
    def inputs(self) -> dict[str, Declared]:
        """Its inputs."""
        entries = self.root.mapping("inputs")
        return {name: Declared(self.source, entry) for name, entry in entries.items()}

    @cached_property
    def input_types(self) -> JsonObject:
        """Its inputs' declarations as plain data."""
        return {name: declared.node.value for name, declared in self.inputs.items()}

    @cached_property
    def vars(self) -> dict[str, Declared]:
        """Its variables; its own win over the project's."""
        return self._merged("vars")

    @cached_property
    def secrets(self) -> dict[str, Declared]:
        """Its secrets; its own win over the project's."""
        return self._merged("secrets")

    @cached_property
    def resources(self) -> dict[str, Declared]:
        """Its resources; its own win over the project's."""
        return self._merged("resources")

    def _merged(self, key: str) -> dict[str, Declared]:
        sources = [self.project, self.source] if self.project else [self.source]
        return {
            name: Declared(source, entry)
            for source in sources
            for name, entry in source.root.mapping(key).items()
        }

    def resource_type(self, name: str) -> str | None:
        """The word for a resource's type; absent where it is unknown or unfit."""
        declared = self.resources.get(name)
        entries = declared.node.entries if declared else ()
        known = [key for key in entries if key in self.resource_fields]
        return known[0] if len(known) == 1 else None

    @cached_property
    def by_id(self) -> dict[str, Step]:
        """Its steps by id; of doubles the first."""
        return {step.id: step for step in reversed(self.steps) if step.id}

    def planned_ids(self, step_id: str) -> tuple[str, ...]:
        """The steps that are meant by an id: of one that was written out, all that it became."""
        return self.source.copies.get(step_id) or (step_id,)

    @property
    def undone_file(self) -> Node | None:
        """What `for` names; absent outside rollbacks."""
        node = self.root.get("for")
        return node if node and isinstance(node.value, str) else None


@dataclass(slots=True, eq=False)
class Bundle:
    """All files that one runbook is compiled from."""

    main: Document
    rollback: Document | None = None
    """What `on_failure.runbook` names."""
    undone: Document | None = None
    """What `for` names: only its ids and effects matter."""
    layers: Layers = field(default_factory=Layers)
    """What is laid over all of them."""

    @property
    def environment(self) -> str:
        """The chosen environment's name; empty: none."""
        return self.layers.environment.path.stem if self.layers.environment else ""

    @property
    def is_protected(self) -> bool:
        """Whether its environment demands that a person types its name."""
        node = self.layers.environment.root.get("protected") if self.layers.environment else None
        return node is not None and node.value is True

    @property
    def policy(self) -> Node | None:
        """What its environment demands of every run."""
        return self.layers.environment.root.get("policy") if self.layers.environment else None

    def sources(self) -> list[Source]:
        """The files that are compiled, each once."""
        documents = [self.main, self.rollback] if self.rollback else [self.main]
        found = [doc.source for doc in documents]
        used = [each for source in found for each in source.used]
        projects = [doc.project for doc in documents if doc.project]
        return list(dict.fromkeys([*found, *used, *projects, *self.layers]))


def read_bundle(path: Path, registry: Registry, layers: Layers) -> Bundle:
    """Read a runbook and every file that it names; what is wrong stands in each source."""
    reader = _Reader(registry, layers)
    bundle = Bundle(reader.document(path), layers=layers)
    on_failure = bundle.main.root.get("on_failure")
    named = on_failure.get("runbook") if on_failure else None
    if named and isinstance(named.value, str):
        bundle.rollback = reader.named(bundle.main, named)
    if bundle.main.undone_file:
        bundle.undone = reader.named(bundle.main, bundle.main.undone_file)
    return bundle


class _Reader:
    """Reads files, and lays over them what belongs there."""

    def __init__(self, registry: Registry, layers: Layers) -> None:
        self._registry = registry
        self._layers = layers if layers.are_readable else Layers()
        self._used: dict[Path, Document] = {}
        self._path: list[Path] = []
        """The runbooks that are being read, each used by the one before."""

    def document(self, path: Path) -> Document:
        source = read_source(path)
        file = path.parent / PROJECT_FILE
        project = read_source(file) if file.exists() else None
        if source.is_readable:
            _refuse_project(source)
        if source.is_readable and (project is None or project.is_readable):
            source, project = laid_over(source, project, self._layers)
        if project and project.is_readable:
            check_shape(project, schema_for("project", self._registry))
        if source.is_readable:
            self._path.append(path.resolve())
            source = self._shaped(source, project)
            self._path.pop()
        document = Document(source, project, resource_fields(self._registry))
        if source.is_readable:
            document.steps = read_steps(source, self._registry)
        return document

    def _shaped(self, source: Source, project: Source | None) -> Source:
        """A runbook whose shape has been checked, as written and as written out."""
        schema = schema_for("runbook", self._registry)
        check_shape(source, schema)
        written = write_out(source, project, lambda node: self._to_use(source, node))
        if written is not source and not any(each.is_error for each in source.diagnostics):
            check_shape(written, schema)
        return written

    def named(self, document: Document, node: Node) -> Document | None:
        """The runbook that a node names; its absence is an error at the node."""
        path = _file(document.source, node)
        return self.document(path) if path else None

    def _to_use(self, source: Source, node: Node) -> Document | None:
        """The runbook that a step uses, if it can be used at all."""
        path = _file(source, node)
        if path is None:
            return None
        if path.resolve() in self._path:
            message = f"`{node.value}` would be used within itself"
            source.error("RB317", message, node.span)
            return None
        if path not in self._used:
            self._used[path] = self.document(path)
        found = self._used[path]
        is_sound = found.source.is_readable and not any(
            each.is_error for each in found.source.diagnostics
        )
        if not is_sound:
            message = f"runbook `{node.value}` is not valid"
            source.error("RB317", message, node.span, f"runbook validate {found.source.file}")
        return found if is_sound else None


def _refuse_project(source: Source) -> None:
    """Refuse a project's file that is taken for a runbook, with that alone."""
    named = source.root.entries.get("project")
    if named is not None and "runbook" not in source.root.entries:
        message = "this is a project, which runbooks share, and no runbook"
        source.error("RB202", message, named.key_span, runbooks_meant(source.path.parent))
        source.is_readable = False


def _file(source: Source, node: Node) -> Path | None:
    """The file that a node names, beside the one that the node lies in."""
    folder = (node.span.origin or source).path.parent
    path = Path(normpath(folder / str(node.value)))
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):  # too long for a file's name, or with a NUL in it
        pass
    name = str(node.value)
    message = f"there is no runbook `{name if len(name) <= 60 else f'{name[:60]}…'}`"
    source.error("RB313", message, node.span, _near_file(path))
    return None


def _near_file(path: Path) -> str | None:
    from runbook.language.diagnostics import did_you_mean

    try:
        files = sorted(file.name for file in path.parent.glob("*.yaml"))
    except (OSError, ValueError):
        return None
    return did_you_mean(path.name, [file for file in files if file != PROJECT_FILE])


def read_steps(source: Source, registry: Registry) -> list[Step]:
    """The steps of a runbook, groups flattened, finally steps last."""
    reading = _Steps(source, registry)
    for key in ("steps", "finally"):
        node = source.root.get(key)
        if node:
            reading.sequence(node.items, (), is_finally=key == "finally")
    return reading.found


@dataclass(slots=True)
class _Steps:
    source: Source
    registry: Registry
    found: list[Step] = field(default_factory=list)

    def sequence(
        self, nodes: list[Node], before: tuple[Step, ...], *, is_finally: bool
    ) -> tuple[Step, ...]:
        """Read steps that follow one another; gives those that all of them end with."""
        for node in nodes:
            group = node.get("parallel")
            if group is not None and not is_finally:
                before = self._group(group.items, before) or before
            elif isinstance(node.value, dict):
                before = (self._step(node, before, is_finally=is_finally),)
        return before

    def _group(self, branches: list[Node], before: tuple[Step, ...]) -> tuple[Step, ...]:
        ends: list[Step] = []
        for branch in branches:
            inner = branch.get("steps")
            nodes = inner.items if inner is not None else [branch]
            ends += [s for s in self.sequence(nodes, before, is_finally=False) if s not in before]
        return tuple(dict.fromkeys(ends))

    def _step(self, node: Node, before: tuple[Step, ...], *, is_finally: bool) -> Step:
        kind_name = node.text_of("uses") or ""
        is_known = kind_name in self.registry.names
        step = Step(
            source=self.source,
            node=node,
            id=node.text_of("id") or "",
            kind_name=kind_name,
            kind=self.registry.facts(kind_name) if is_known else None,
            needs=before,
            is_finally=is_finally,
        )
        self.found.append(step)
        return step
