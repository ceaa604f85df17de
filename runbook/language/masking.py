"""Where in a file secrets may stand that people have written out: no finding ever shows that."""

import re
from collections.abc import Iterator, Sequence

from runbook.language.diagnostics import Span
from runbook.language.schema_words import WORD_PATTERN
from runbook.language.source import KEYS_OF_INPUTS, KEYS_OF_SECRETS, Entry, Node, Source

_TOP_KEY = re.compile(r"""["']?(\w+)["']?\s*:(?=\s)""")
_KEY = re.compile(r"""\s*(?:-\s+)?["']?[\w-]+["']?\s*:(?=\s)""")


def secret_lines(lines: Sequence[str]) -> Iterator[Span]:
    """In a text that may be no YAML: what stands behind the keys under `secrets`, and under
    `inputs` where some are sensitive.
    """
    is_sensitive = any("sensitive" in line for line in lines)
    section = ""
    for number, line in enumerate(lines, start=1):
        top = _TOP_KEY.match(line)
        section = top[1].lower() if top else section
        if section in ("secrets", "secret") or (section == "inputs" and is_sensitive):
            key = top or _KEY.match(line)
            start = key.end() if key else len(line) - len(line.lstrip())
            end = len(line.rstrip())
            yield Span(line=number, column=start + 1, end_line=number, end_column=end + 1)


def mask_secrets(source: Source) -> None:
    """Mask what stands where the origin of a secret should, and what sensitive inputs are given."""
    source.masked = []
    for key, entry in source.root.entries.items():
        if key != "secrets" and key.lower() in ("secrets", "secret"):
            source.mask(entry.node.span)
    section = source.root.get("secrets")
    if section and not isinstance(section.value, dict):
        source.mask(section.span)
    for entry in source.root.mapping("secrets").values():
        _mask_origin(source, entry.node)
    for entry in source.root.mapping("inputs").values():
        sensitive = entry.node.get("sensitive")
        if sensitive and sensitive.value is not False:
            for key, item in entry.node.entries.items():
                if key not in KEYS_OF_INPUTS:
                    source.mask(item.node.span)


def _mask_origin(source: Source, secret: Node) -> None:
    from difflib import get_close_matches

    if not secret.entries:
        source.mask(secret.span)
    for key, entry in secret.entries.items():
        if not _is_origin(entry):
            source.mask(entry.node.span)
        if entry.node.value is None and not get_close_matches(key, KEYS_OF_SECRETS):
            source.mask(entry.key_span)  # `{hunter2}`, which is a key


def _is_origin(entry: Entry) -> bool:
    """Whether this surely says where a secret comes from, and is not the secret."""
    value = entry.node.value
    is_name = isinstance(value, str) and re.search(WORD_PATTERN, value)
    return bool(is_name) if entry.key == "env" else entry.key == "file" and isinstance(value, str)
