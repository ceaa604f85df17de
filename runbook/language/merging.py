"""Trees laid over one another: maps merge, everything else is replaced, nothing is deleted.

Every node keeps its place, and what comes from another file the name of that file (Span.origin).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from runbook.language.source import Entry, Node, Source


def placed_in(node: Node, source: Source) -> Node:
    """The tree with the file that it lies in noted at every node that does not say another."""
    return replace(
        node,
        span=replace(node.span, origin=node.span.origin or source),
        entries={
            key: replace(
                entry,
                key_span=replace(entry.key_span, origin=entry.key_span.origin or source),
                node=placed_in(entry.node, source),
            )
            for key, entry in node.entries.items()
        },
        items=[placed_in(item, source) for item in node.items],
    )


def with_entries(node: Node, entries: Mapping[str, Entry]) -> Node:
    """The mapping with other entries."""
    value = {key: entry.node.value for key, entry in entries.items()}
    return replace(node, value=value, entries=dict(entries), items=[])


def with_items(node: Node, items: Sequence[Node]) -> Node:
    """The list with other items."""
    return replace(node, value=[item.value for item in items], items=list(items))


def with_entry(node: Node, entry: Entry) -> Node:
    """The mapping with one entry more, or in place of that of the same key."""
    return with_entries(node, {**node.entries, entry.key: entry})


def merged(below: Node, above: Node) -> Node:
    """One tree laid over another."""
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    return with_entries(below, merged_entries(below.entries, above.entries, merged))


def merged_entries(
    below: Mapping[str, Entry],
    above: Mapping[str, Entry],
    merge: Callable[[Node, Node], Node],
) -> dict[str, Entry]:
    """The keys of both; where both have one, their values merged."""
    made = dict(below)
    for key, entry in above.items():
        first = below.get(key)
        node = merge(first.node, entry.node) if first else entry.node
        made[key] = entry if first is None or node is entry.node else replace(first, node=node)
    return made
