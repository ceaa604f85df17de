"""A runbook and its way back as a graph: for Mermaid, and as an SVG that needs no program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN, _TITLE = 210, 46, 26, 26, 24, 30
_STEP = _WIDTH + _GAP_X
_FILLS = {"reads": "#eef3f8", "changes": "#fdf0d5", "destroys": "#f8d7d3"}
_STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:13px;fill:#1c2733}"
    ".title{font-size:15px;font-weight:600}.small{font-size:11px;fill:#51606e}"
    ".flow{fill:none;stroke:#51606e}.undoes{fill:none;stroke:#b3554a;stroke-dasharray:5 4}"
)

_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    ' orient="auto"><path d="M0 0L8 4L0 8z" fill="#51606e"/></marker></defs>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One step."""

    id: str
    kind: str
    effect: str
    """`reads`, `changes` or `destroys`."""
    needs: tuple[str, ...] = ()
    """The steps that are over before it starts."""
    undoes: tuple[str, ...] = ()
    """Rollbacks: the steps that it undoes."""
    when: str | None = None
    is_finally: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A runbook, and the one that undoes it."""

    name: str
    boxes: tuple[Box, ...]
    rollback: "Chart | None" = None
    after: str | None = None
    """The step after which a failure starts the rollback."""


def mermaid(chart: Chart) -> str:
    """The graph in Mermaid's language (mermaid.js.org, flowchart)."""
    lines = ["flowchart TB"]
    charts = [chart, chart.rollback] if chart.rollback else [chart]
    for number, each in enumerate(charts):
        lines.append(f'  subgraph r{number}["{_quoted(each.name)}"]')
        lines += [f"    {line}" for box in each.boxes for line in _mermaid_box(number, box)]
        lines.append("  end")
    if chart.rollback:
        after = f"r0_{chart.after}" if chart.after else "r0"
        lines.append(f'  {after} -. "a failure after it" .-> r1')
        known = {box.id for box in chart.boxes}
        lines += [
            f"  r1_{box.id} -. undoes .-> r0_{undone}"
            for box in chart.rollback.boxes
            for undone in box.undoes
            if undone in known
        ]
    lines += [f"  classDef {effect} fill:{fill}" for effect, fill in _FILLS.items()]
    return "\n".join(lines)


def _mermaid_box(number: int, box: Box) -> Iterator[str]:
    label = "<br/>".join(_quoted(text) for text in (box.id, box.kind, _condition(box)) if text)
    left, right = ("([", "])") if box.is_finally else ("[", "]")
    yield f'r{number}_{box.id}{left}"{label}"{right}:::{box.effect}'
    for need in box.needs:
        yield f"r{number}_{need} --> r{number}_{box.id}"


def _condition(box: Box) -> str:
    return f"when {box.when}" if box.when else ""


def _quoted(text: str) -> str:
    return _escaped(text).replace("&#x27;", "'")


def _escaped(text: str) -> str:
    """For Mermaid and XML, in which control characters have no place."""
    return escape("".join(each if each.isprintable() else "\ufffd" for each in text))


# --- SVG ------------------------------------------------------------------------------------


def svg(chart: Chart) -> str:
    """The graph as a standing drawing: the runbook at the left, its rollback at the right."""
    left = _Column(chart, _MARGIN)
    columns = [left]
    if chart.rollback:
        columns.append(_Column(chart.rollback, left.right + 3 * _GAP_X))
    width = columns[-1].right + _MARGIN
    height = max(column.bottom for column in columns) + _MARGIN
    parts = [part for column in columns for part in column.edges()]
    if chart.rollback:
        parts += _between(columns[0], columns[1])
    # Last, so that no line crosses what is written in them.
    parts += [part for column in columns for part in column.boxes()]
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{_escaped(chart.name)}</title><style>{_STYLE}</style>{_TIP}",
            *parts,
            "</svg>",
        ]
    )


class _Column:
    """One runbook's boxes, laid out: each a row below what it needs, and below its middle."""

    def __init__(self, chart: Chart, left: int) -> None:
        self.chart = chart
        self.left = left
        rows = _rows(chart.boxes)
        self.right = left + max((len(row) for row in rows), default=1) * _STEP - _GAP_X
        self.bottom = _MARGIN + _TITLE + len(rows) * (_HEIGHT + _GAP_Y)
        self.places: dict[str, tuple[float, float]] = {}
        for depth, row in enumerate(rows):
            y = _MARGIN + _TITLE + depth * (_HEIGHT + _GAP_Y)
            for box, x in self._spread(row):
                self.places[box.id] = (x, y)

    def _spread(self, row: Sequence[Box]) -> Iterator[tuple[Box, float]]:
        """Each where it would like to be, as far as those before and the frame allow."""
        wished = [self._wished(box) for box in row]
        found: list[float] = []
        for wish in wished:
            likes = wished.count(wish)
            least = found[-1] + _STEP if found else self.left
            found.append(max(wish - (likes - 1) * _STEP / 2, least))
        most = float(self.right - _WIDTH)
        for position in reversed(range(len(row))):
            found[position] = min(found[position], most)
            most = found[position] - _STEP
        return zip(row, found, strict=True)

    def _wished(self, box: Box) -> float:
        above = [self.places[need][0] for need in box.needs if need in self.places]
        middle = (self.left + self.right - _WIDTH) / 2
        return sum(above) / len(above) if above else middle

    def edges(self) -> Iterator[str]:
        name = _escaped(self.chart.name)
        yield f'<text class="title" x="{self.left}" y="{_MARGIN + 8}">{name}</text>'
        for box in self.chart.boxes:
            x, y = self.places[box.id]
            for need in box.needs:
                from_x, from_y = self.places[need]
                yield (
                    f'<path class="flow" marker-end="url(#tip)" d="M{from_x + _WIDTH / 2:g} '
                    f'{from_y + _HEIGHT:g}L{x + _WIDTH / 2:g} {y:g}"/>'
                )

    def boxes(self) -> Iterator[str]:
        for box in self.chart.boxes:
            yield from _box(box, *self.places[box.id])


def _box(box: Box, x: float, y: float) -> Iterator[str]:
    radius = _HEIGHT // 2 if box.is_finally else 5
    condition = f"<title>{_escaped(_condition(box))}</title>" if box.when else ""
    fill = _FILLS[box.effect]
    yield (
        f'<g>{condition}<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'rx="{radius}" fill="{fill}" stroke="#51606e"/>'
        f'<text x="{x + 14:g}" y="{y + 19:g}">{_escaped(_short(box.id))}</text>'
        f'<text class="small" x="{x + 14:g}" y="{y + 36:g}">{_escaped(_small(box))}</text></g>'
    )


def _small(box: Box) -> str:
    return _short(f"{box.kind}, when {box.when}" if box.when else box.kind, 30)


def _short(text: str, length: int = 26) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _between(main: _Column, back: _Column) -> Iterator[str]:
    """What leads from a runbook to its rollback, and what each step there undoes."""
    start = main.places.get(main.chart.after or "")
    first = back.places.get(back.chart.boxes[0].id) if back.chart.boxes else None
    if start and first:
        (x, y), (to_x, to_y) = (start[0] + _WIDTH, start[1] + _HEIGHT), (first[0], first[1])
        curve = f"M{x:g} {y:g}C{x + 60:g} {y:g} {to_x - 60:g} {to_y:g} {to_x:g} {to_y:g}"
        said = "<title>a failure after it starts the rollback</title>"
        yield f'<path class="undoes" marker-end="url(#tip)" d="{curve}">{said}</path>'
    for box in back.chart.boxes:
        x, y = back.places[box.id]
        for undone in box.undoes:
            if undone in main.places:
                to_x, to_y = main.places[undone]
                yield (
                    f'<path class="undoes" d="M{x:g} {y + _HEIGHT / 2:g}L{to_x + _WIDTH:g} '
                    f'{to_y + _HEIGHT / 2:g}"><title>{_escaped(box.id)} undoes {_escaped(undone)}'
                    "</title></path>"
                )


def _rows(boxes: Sequence[Box]) -> list[list[Box]]:
    """The boxes by how many steps, at most, are over before each."""
    depths: dict[str, int] = {}
    rows: list[list[Box]] = []
    for box in boxes:
        depth = _depth(box, depths)
        depths[box.id] = depth
        rows += [[] for _ in range(depth + 1 - len(rows))]
        rows[depth].append(box)
    return [row for row in rows if row]


def _depth(box: Box, depths: Mapping[str, int]) -> int:
    return 1 + max((depths[need] for need in box.needs if need in depths), default=-1)
