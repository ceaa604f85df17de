"""YAML text to a tree of nodes, each with its place and its source text.

PyYAML scans; what its events mean is decided here: YAML 1.2 core, no tags, no merge keys.
Events, not `yaml.compose`: the C composer recurses without bound and crashes on deep nesting.
"""

import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from runbook.core.plan import Json
from runbook.language.diagnostics import Span, did_you_mean
from runbook.language.masking import secret_lines
from runbook.language.meant import runbooks_meant
from runbook.language.scalars import Unfit, resolve, type_name
from runbook.language.source import Entry, Node, Source
from runbook.language.syntax import explain

if TYPE_CHECKING:
    import yaml

MAX_SIZE_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_EXPANSION = 10_000
"""How much aliases may add, in nodes and hundreds of characters."""
_SPLIT = "move steps into a runbook of their own: `uses: runbook`"
_FLATTEN = "write it with fewer `[`, `{` or indented levels"
_UNFIT_CHARACTER = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]*)+")
"""What may stand before a value: its anchor and its tag."""
_TAG = re.compile(r"!\S*")
_START = Span(line=1, column=1, end_line=1, end_column=1)


def read_source(path: Path, file: str | None = None) -> Source:
    """Read a file; what is wrong with it stands in the answer's diagnostics."""
    shown = file if file is not None else str(path)
    source = Source(file=shown, path=path, text="", root=Node(span=_START))
    try:
        _refuse_to_wait(path)
        with path.open("rb") as stream:
            data = stream.read(MAX_SIZE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        is_near = isinstance(error, FileNotFoundError | IsADirectoryError)
        hint = runbooks_meant(path) if is_near else None
        source.error("RB100", f"cannot read `{shown}`: {reason.lower()}", _START, hint)
        source.is_readable = False
        return source
    return parse_source(data, path, shown)


def _refuse_to_wait(path: Path) -> None:
    """Refuse what would be read for ever; `/dev/stdin` and `<(…)` are somebody's to end."""
    if path.is_fifo() and path.parts[:2] != ("/", "dev"):
        raise ValueError("it is a named pipe")


def parse_source(data: bytes, path: Path, file: str) -> Source:
    """Parse a file's bytes; what is wrong with them stands in the answer's diagnostics."""
    digest = sha256(data).hexdigest()
    source = Source(file=file, path=path, text="", root=Node(span=_START), digest=digest)
    try:
        if len(data) > MAX_SIZE_BYTES:
            source.error("RB108", "the file is larger than 1 MiB", _START, _SPLIT)
            raise _Unreadable
        source.text = _decode(source, data)
        source.lines = _split_lines(source.text)
        source.masked = [*secret_lines(source.lines)]
        _check_characters(source)
        source.root = _Walk(source).run()
    except _Unreadable:
        source.is_readable = False
    return source


class _Unreadable(Exception):
    """There is no use in going on with this file; its diagnostics say why."""


def _decode(source: Source, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        lines = _split_lines(before + "\ufffd")
        source.lines = lines
        source.masked = [*secret_lines(lines)]
        span = _point(len(lines), len(lines[-1]))
        source.error("RB109", f"byte 0x{data[error.start]:02x} is not UTF-8", span, "save as UTF-8")
        raise _Unreadable from None


def _check_characters(source: Source) -> None:
    found = _UNFIT_CHARACTER.search(source.text)
    if found is None:
        return
    lines = _split_lines(source.text[: found.end()])
    span = _point(len(lines), len(lines[-1]))
    source.lines = [_UNFIT_CHARACTER.sub("\ufffd", line) for line in source.lines]
    name = f"U+{ord(found.group()):04X}"
    source.error("RB109", f"the invisible character {name} does not belong here", span, "delete it")
    raise _Unreadable


def _split_lines(text: str) -> list[str]:
    """As YAML 1.2 and editors count them; each keeps its end. Never empty."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", text) or [""]


def _point(line: int, column: int) -> Span:
    return Span(line=line, column=column, end_line=line, end_column=column + 1)


@dataclass(slots=True)
class _Open:
    """A mapping or list that has begun and not ended."""

    node: Node
    is_mapping: bool
    anchor: str | None
    key: Entry | None = None
    """A key that waits for its value."""
    is_merge: bool = False
    """Whether that key is `<<`."""
    merged: list[Node] = field(default_factory=list)
    """What `<<` names: its keys are taken as there, so that no others are said to be missing."""


class _Walk:
    """One pass over the events of a text; never recurses."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._anchors: dict[str, Node] = {}
        self._open: list[_Open] = []
        self._root: Node | None = None
        self._expansion = 0
        self._documents = 0
        self._quoted: Span | None = None
        """The last text if it is quoted and goes over several lines: a quote may be missing."""

    def run(self) -> Node:
        import yaml

        loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            for event in yaml.parse(self._source.text, Loader=loader):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            self._fail_syntax(error)
        except yaml.YAMLError as error:
            self._fail("RB101", f"not valid YAML: {str(error).splitlines()[0]}", _START)
        if self._root is None:
            self._fail("RB110", "the file is empty", _START, "begin with `runbook: v1`")
        return self._root

    def _take(self, event: Any) -> None:
        match type(event).__name__:
            case "ScalarEvent":
                self._take_scalar(event)
            case "AliasEvent":
                self._take_alias(event)
            case "MappingStartEvent" | "SequenceStartEvent":
                self._begin(event)
            case "MappingEndEvent" | "SequenceEndEvent":
                self._end(event)
            case "DocumentStartEvent":
                self._documents += 1
                if self._documents > 1:
                    hint = "remove `---`, or give each document a file of its own"
                    self._fail("RB110", "a file holds one document", _span(event), hint)
            case _:
                pass

    def _take_scalar(self, event: Any) -> None:
        span = self._without_properties(event)
        value: Json = event.value
        text = self._text(span) if span.line == span.end_line else event.value
        is_refused = self._refuse_tag(event, text)
        is_plain = event.style is None or event.style == ""
        self._quoted = None if is_plain or span.line == span.end_line else span
        is_merge = is_plain and self._is_key() and event.value == "<<"
        if is_merge:
            hint = "write the keys out where they belong"
            self._source.error("RB107", "merge keys are not supported", span, hint)
        elif is_plain and not event.tag:
            value, is_refused = self._resolve(event.value, span)
        weight = 1 + len(event.value) // 100
        node = Node(span=span, value=value, text=text, weight=weight, is_refused=is_refused)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._add(node, is_merge=is_merge)

    def _without_properties(self, event: Any) -> Span:
        """Where a scalar stands, its anchor and its tag left out."""
        span = _span(event)
        if not event.anchor and not event.tag:
            return span
        before = _PROPERTIES.match(self._source.lines[span.line - 1], span.column - 1)
        if not before or (span.line == span.end_line and before.end() >= span.end_column):
            return span
        return replace(span, column=before.end() + 1)

    def _resolve(self, text: str, span: Span) -> tuple[Json, bool]:
        """A plain scalar's value, and whether it has been refused."""
        try:
            return resolve(text), False
        except Unfit as error:
            quoted = f": '{text}'" if len(text) < 40 else ""
            hint = f"quote it{quoted}"
            self._source.error("RB104", f"`{_short(text)}` {error}", span, hint)
            return text, True

    def _take_alias(self, event: Any) -> None:
        span = _span(event)
        if any(opened.anchor == event.anchor for opened in self._open):
            self._fail("RB106", f"`*{event.anchor}` contains itself", span)
        node = self._anchors.get(event.anchor)
        if node is None:
            near = did_you_mean(event.anchor, self._anchors)
            hint = near if near else f"quote it if it is text: '*{event.anchor}'"
            message = f"there is no anchor `&{event.anchor}` before this"
            self._source.error("RB101", message, span, hint)
            node = Node(span=span, is_refused=True)
        self._expansion += node.weight
        if self._expansion > MAX_EXPANSION:
            self._fail("RB106", "the aliases of this file expand to too much", span)
        self._add(node)

    def _begin(self, event: Any) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._fail("RB108", f"nested deeper than {MAX_DEPTH} levels", _span(event), _FLATTEN)
        is_refused = self._refuse_tag(event)
        node = Node(span=_span(event), is_refused=is_refused)
        is_mapping = type(event).__name__ == "MappingStartEvent"
        if self._is_key():
            self._fail("RB103", "expected a string as key", node.span)
        node.value = {} if is_mapping else []
        if event.anchor:
            self._anchors[event.anchor] = node
        self._open.append(_Open(node, is_mapping, event.anchor))

    def _end(self, event: Any) -> None:
        opened = self._open.pop()
        node = opened.node
        for below in opened.merged:
            node.entries = {**below.entries, **node.entries}
        end = _span(event)
        node.span = replace(node.span, end_line=end.end_line, end_column=end.end_column)
        if node.entries:
            node.value = {key: entry.node.value for key, entry in node.entries.items()}
        elif node.items:
            node.value = [item.value for item in node.items]
        node.weight = 1 + sum(item.weight for item in node.items)
        node.weight += sum(1 + entry.node.weight for entry in node.entries.values())
        self._add(node)

    def _is_key(self) -> bool:
        return bool(self._open) and self._open[-1].is_mapping and self._open[-1].key is None

    def _add(self, node: Node, *, is_merge: bool = False) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if not parent.is_mapping:
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
            parent.is_merge = is_merge
        else:
            entry = replace(parent.key, node=node)
            first = parent.node.entries.get(entry.key)
            if parent.is_merge:
                parent.merged += [node] if node.entries else node.items
            elif first:
                message = f"duplicate key `{entry.key}`, first on line {first.key_span.line}"
                self._source.error("RB102", message, entry.key_span, "remove one of them")
            else:
                parent.node.entries[entry.key] = entry
            parent.key = None

    def _key(self, node: Node) -> Entry:
        if isinstance(node.value, str):
            return Entry(node.value, node.span, node, is_refused=node.is_refused)
        kind = type_name(node.value)
        hint = f"quote it: '{node.text}'" if node.text else None
        self._source.error(
            "RB103", f"expected a string as key, found {kind} `{node.text}`", node.span, hint
        )
        return Entry(node.text, node.span, node, is_refused=True)

    def _refuse_tag(self, event: Any, text: str = "") -> bool:
        """Whether there is a tag, which leaves unclear what the value is."""
        if not event.tag:
            return False
        span = _span(event)
        line = self._source.lines[span.line - 1]
        tag = _TAG.search(line, span.column - 1)
        start, end = tag.span() if tag else (span.column - 1, span.column)
        place = replace(_point(span.line, start + 1), end_column=end + 1)
        is_text = event.tag == "tag:yaml.org,2002:str" and text and "'" not in text
        hint = f"write '{text}'" if is_text and text[:1] != '"' else "remove it"
        self._source.error("RB105", "tags are not supported", place, hint)
        return True

    def _text(self, span: Span) -> str:
        line = self._source.lines[span.line - 1] if span.line <= len(self._source.lines) else ""
        return line[span.column - 1 : span.end_column - 1]

    def _fail(self, code: str, message: str, span: Span, hint: str | None = None) -> NoReturn:
        self._source.error(code, message, span, hint)
        raise _Unreadable

    def _fail_syntax(self, error: "yaml.MarkedYAMLError") -> NoReturn:
        if "maximum nesting depth" in str(error.problem):  # libyaml's own bound, since 0.2.6
            self._fail("RB108", f"nested deeper than {MAX_DEPTH} levels", _START, _FLATTEN)
        flaw = explain(error, self._source.lines, self._quoted)
        self._fail("RB101", flaw.message, flaw.span, flaw.hint)


def _span(event: Any) -> Span:
    start, end = event.start_mark, event.end_mark
    return Span(
        line=start.line + 1,
        column=start.column + 1,
        end_line=end.line + 1,
        end_column=end.column + 1,
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"
