"""Environments and vars files: what is laid over a runbook and its project before it is checked.

One runbook serves several environments. What differs is data: maps merge, all else is replaced,
nothing is appended or deleted. Whatever is laid over keeps its own file and line.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from runbook.errors import InputError
from runbook.language.diagnostics import did_you_mean
from runbook.language.merging import (
    merged,
    merged_entries,
    placed_in,
    with_entries,
    with_entry,
    with_items,
)
from runbook.language.reading import read_source
from runbook.language.schema import schema_for
from runbook.language.shape import check_shape
from runbook.language.source import Entry, Node, Source
from runbook.registry import Registry

FOLDER = "environments"
_IN_VARS_FILES = ("vars", "inputs")
_VARIABLE = re.compile(r"""\bvars(?:\.(\w+)|\[['"](\w+)['"]\])""")
_OVERRIDABLE = ("with", "timeout", "retry", "when")


@dataclass(frozen=True, slots=True)
class Layers:
    """What is laid over a runbook and its project."""

    environment: Source | None = None
    vars_files: tuple[Source, ...] = ()

    def __iter__(self) -> Iterator[Source]:
        """All of them, lowest first."""
        yield from (self.environment,) if self.environment else ()
        yield from self.vars_files

    @property
    def are_readable(self) -> bool:
        """Whether they can be laid over anything; else their own diagnostics say what is wrong."""
        return all(layer.is_readable for layer in self)


def environments_beside(path: Path) -> dict[str, Path]:
    """The environments that a runbook may run in: the file of each, by its name.

    Raises:
        InputError: a file there would be taken for one, and is none.
    """
    files = sorted((path.parent / FOLDER).glob("*.*"))
    for file in files:
        if file.suffix != ".yaml" and file.suffix.lower() in (".yaml", ".yml"):
            raise InputError(
                f"`{file}` is no environment: the name of its file must end in `.yaml`",
                hint=f"mv {quote(str(file))} {quote(str(file.with_suffix('.yaml')))}",
            )
    return {file.stem: file for file in files if file.suffix == ".yaml"}


def read_layers(environment: Path | None, vars_files: Iterable[Path], registry: Registry) -> Layers:
    """Read an environment's file and vars files; what is wrong stands in each."""
    schema = schema_for("environment", registry)
    properties: Any = schema["properties"]
    known = {key: properties[key] for key in _IN_VARS_FILES}
    return Layers(
        environment=_read_environment(environment, schema) if environment else None,
        vars_files=tuple(_read(file, {**schema, "properties": known}) for file in vars_files),
    )


def _read(path: Path, schema: Mapping[str, Any]) -> Source:
    source = read_source(path)
    if source.is_readable:
        check_shape(source, dict(schema))
        source.root = placed_in(source.root, source)
    return source


def _read_environment(path: Path, schema: Mapping[str, Any]) -> Source:
    source = _read(path, schema)
    name = source.root.get("name")
    if name and name.value != path.stem:
        message = f"the environment is called `{path.stem}`, as its file is, and not `{name.text}`"
        source.error("RB411", message, name.span, f"write `{path.stem}`, or rename the file")
    _check_timezone(source)
    return source


def _check_timezone(source: Source) -> None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    window = source.root.mapping("policy").get("window")
    node = window.node.get("timezone") if window else None
    if node is None or not isinstance(node.value, str):
        return
    try:
        ZoneInfo(node.value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"there is no time zone `{node.value}`"
        source.error("RB413", message, node.span, "write its IANA name, such as `Europe/Zurich`")


# --- laying over ----------------------------------------------------------------------------


def laid_over(
    runbook: Source, project: Source | None, layers: Layers
) -> tuple[Source, Source | None]:
    """A runbook and its project with everything that is laid over them."""
    runbook = replace(runbook, diagnostics=list(runbook.diagnostics))
    project = replace(project, diagnostics=list(project.diagnostics)) if project else None
    for layer in layers:
        _lay_inputs(runbook, layer)
        for key, merge in _SECTIONS.items():
            for name, entry in layer.root.mapping(key).items():
                is_own = project is None or name in runbook.root.mapping(key)
                target = runbook if is_own or project is None else project
                _lay_named(target, layer.root.entries[key], {name: entry}, merge)
        _lay_overrides(runbook, layer)
    return runbook, project


def _lay_inputs(runbook: Source, layer: Source) -> None:
    """What a layer gives an input takes the place of its default."""
    declared = runbook.root.mapping("inputs")
    for name, entry in layer.root.mapping("inputs").items():
        sensitive = declared[name].node.get("sensitive") if name in declared else None
        if sensitive and sensitive.value is not False:
            layer.mask(entry.node.span)
    given = {
        name: replace(
            declared[name],
            node=with_entry(declared[name].node, Entry("default", entry.key_span, entry.node)),
        )
        for name, entry in layer.root.mapping("inputs").items()
        if name in declared and isinstance(declared[name].node.value, dict)
        if isinstance(entry.node.value, str | int | float)  # else it has been reported
    }
    if given:
        section = runbook.root.entries["inputs"]
        _put(runbook, section, with_entries(section.node, {**declared, **given}))


def _lay_named(
    target: Source,
    section: Entry,
    named: Mapping[str, Entry],
    merge: Callable[[Node, Node], Node],
) -> None:
    own = target.root.entries.get(section.key)
    if own is None:
        _put(target, section, with_entries(section.node, named))
    elif isinstance(own.node.value, dict):
        _put(target, own, with_entries(own.node, merged_entries(own.node.entries, named, merge)))


def _put(target: Source, section: Entry, node: Node) -> None:
    target.root = with_entry(target.root, replace(section, node=node))


def _replaced(_below: Node, above: Node) -> Node:
    return above


def _merged_resource(below: Node, above: Node) -> Node:
    """Parameters of the same type merge; a resource of another type is another one."""
    is_same_type = set(below.entries) == set(above.entries)
    return merged(below, above) if is_same_type else above


_SECTIONS: dict[str, Callable[[Node, Node], Node]] = {
    "vars": merged,
    "secrets": _replaced,
    "resources": _merged_resource,
}
"""How two values of the same name become one. A secret comes from one place, or from another."""


def _lay_overrides(runbook: Source, layer: Source) -> None:
    named = layer.root.mapping("overrides").get(runbook.root.text_of("name") or "")
    changes = named.node.entries if named else {}
    known: set[str] = set()
    for key in ("steps", "finally") if changes else ():
        section = runbook.root.entries.get(key)
        if section:
            _put(runbook, section, _overridden(section.node, changes, known))
    for step_id, entry in changes.items():
        if step_id not in known:
            message = f"runbook `{runbook.root.text_of('name')}` has no step `{step_id}`"
            layer.error("RB412", message, entry.key_span, did_you_mean(step_id, known))


def _overridden(node: Node, changes: Mapping[str, Entry], known: set[str]) -> Node:
    """Steps, and groups of steps, with what is changed of some of them."""
    if node.items:
        return with_items(node, [_overridden(item, changes, known) for item in node.items])
    step_id = node.text_of("id")
    if step_id is not None:
        known.add(step_id)
        return merged(node, _of_steps(changes[step_id].node)) if step_id in changes else node
    for key in ("parallel", "for_each", "steps"):
        entry = node.entries.get(key)
        if entry:
            inner = _overridden(entry.node, changes, known)
            node = with_entry(node, replace(entry, node=inner))
    return node


def other_bases(source: Source, parameters: Node | None, base: Path) -> dict[str, str]:
    """Where relative paths start, of the parameters that lie in another file than their owner."""
    entries = parameters.entries if parameters else {}
    found = {name: source.folder_of(entry.node) for name, entry in entries.items()}
    return {name: str(folder) for name, folder in found.items() if folder != base}


def _of_steps(node: Node) -> Node:
    """What a layer may change of a step; the rest is reported, and never laid over it."""
    entries = {key: entry for key, entry in node.entries.items() if key in _OVERRIDABLE}
    return with_entries(node, entries)


# --- what must be there ---------------------------------------------------------------------


def check_names(layers: Layers, folder: Path) -> None:
    """Note every input, runbook and variable that a layer names and no runbook here has."""
    if not any(
        layer.root.mapping(key) for layer in layers for key in (*_IN_VARS_FILES, "overrides")
    ):
        return
    siblings = [read_source(file) for file in sorted(folder.glob("*.yaml"))]
    roots = [sibling.root for sibling in siblings if "runbook" in sibling.root.entries]
    inputs = {name for root in roots for name in root.mapping("inputs")}
    names = {root.text_of("name") or "" for root in roots}
    variables = {name for sibling in siblings for name in sibling.root.mapping("vars")}
    for source in (*siblings, *layers):
        variables |= {name for found in _VARIABLE.findall(source.text) for name in found if name}
    for layer in layers:
        for name, entry in layer.root.mapping("vars").items():
            if name not in variables:
                message = f"no runbook of `{folder}` uses a variable `{name}`"
                layer.warn("RB455", message, entry.key_span, did_you_mean(name, variables))
        for key, known, what in (("inputs", inputs, "has an input"), ("overrides", names, "is")):
            for name, entry in layer.root.mapping(key).items():
                if name not in known:
                    message = f"no runbook of `{folder}` {what} `{name}`"
                    layer.error("RB412", message, entry.key_span, did_you_mean(name, known))
