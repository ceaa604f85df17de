"""Documents made from the schemas: `python -m tests.language.generated SEED COUNT`.

What the schema of the editors says of each, and what the program says, must be the same. Prints, as
JSON, what became of them.
"""

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
from jsonschema import ValidationError, validators

from runbook.errors import InputError
from runbook.language.compile import compile_runbook
from runbook.language.diagnostics import InvalidRunbook
from runbook.language.environments import read_layers
from runbook.language.inputs import declared_defaults
from runbook.language.scalars import Unfit, resolve
from runbook.registry import Registry, discover
from tests.language.making import Maker, Schema, spoiled
from tests.language.matching import is_match

SCHEMAS = Path(__file__).parents[2] / "schemas"
NAMES = ("runbook", "project", "environment")
Validity = Callable[[Any], bool]
TEXTS = [
    *("", "a", "A", "9a", "a-b", "a_b", "a/b", "a" * 70, "db", "no", "yes", "on", "y", "null", "~"),
    *("true", "True", "=", "<<", "fail", "auto", "other.yaml", "rollback.yaml", "http://localhost"),
    *("2026-01-01", "2026-01-01T10:00:00Z", "22:22", "1.10", "010", "0x1F", "1e999", ".inf", "5"),
    *("0s", "90s", "1h30m", "-1s", "1 s", "90s\n", " 90s", "10%", "101%", "1.5", "512MiB", "1_000"),
    *("é", "漢字", "\U0001f469\u200d\U0001f467", "\u2028", "\ufeff", "\0", "\x7f", "\x85", "a\nb"),
    *("a: b", "- a", "# a", "a #b", "'", '"', "\\", "%", "@", "`", "*a", "&a", "!x", "[", "{}"),
    *("${{ run.id }}", "${{ inputs.x }}", "a ${{ vars.y }} b", "${{", "${{ 1 }}", "{{ a }}"),
]
RESOURCES: dict[str, dict[str, Any]] = {
    "code": {"git": {"path": "."}},
    "db": {"sqlite": {"path": "a.db"}},
    "tree": {"directory": {"path": "a"}},
    "web": {"process": {"argv": ["a"], "directory": "."}},
    "site": {"http": {"url": "http://localhost"}},
    "stack": {"compose": {"project": "shop", "files": ["compose.yaml"]}},
    "server": {"postgres": {"service": "stack/db", "database": "shop", "user": "shop"}},
    "files": {"volume": {"name": "shop_files"}},
    "bucket": {"s3": {"url": "http://a", "bucket": "abc", "access_key": "a", "secret_key": "a"}},
}
NAMED = {
    "resource": [*RESOURCES],
    r"\$\{\{": ["${{ run.id }}", "x${{ run.id }}", "${{ env.name }}", "${{ inputs.x }}", "${{"],
}


def schema_of(name: str) -> Schema:
    """A schema as editors get it."""
    loaded: Schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    return loaded


def _resource_of(types: Sequence[str]) -> str:
    return next(n for n, declared in RESOURCES.items() if not types or {*types} & {*declared})


def meant(value: Any, registry: Registry, dice: Random) -> Any:
    """A document whose steps mostly name what there is, so that more is looked at than names."""
    if isinstance(value, list):
        return [meant(each, registry, dice) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: meant(each, registry, dice) for key, each in value.items()}
    given, kind = made.get("with"), made.get("uses")
    if not isinstance(given, dict) or dice.random() < 0.2:
        return made
    for use in registry.facts(kind).resources if kind in registry.names else ():
        if isinstance(given.get(use.path[0]), str):
            given[use.path[0]] = _resource_of(use.types)
    return {**made, "with": {**given, "runbook": "other.yaml"}} if kind == "runbook" else made


def written(value: Any, dice: Random) -> str:
    """A value as YAML, texts without quotes where they may be."""
    match value:
        case dict():
            pairs = (f"{written(k, dice)}: {written(v, dice)}" for k, v in value.items())
            return "{" + ", ".join(pairs) + "}"
        case list():
            return "[" + ", ".join(written(each, dice) for each in value) + "]"
        case str():
            return value if _is_plain(value) and dice.random() < 0.8 else _quoted(value)
        case None:
            return dice.choice(["null", "~"])
        case bool():
            return dice.choice([str(value), str(value).lower()])
        case int() if value > 0:
            return dice.choice(["", "", "+", "0"]) + str(value)
        case _:
            return json.dumps(value)


def _is_plain(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"[\w][\w./-]*(:[\w./-]+)*", text)) and resolve(text) == text
    except Unfit:
        return False


def _quoted(text: str) -> str:
    escaped = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return '"' + "".join(escaped) + '"'


# --- two verdicts ---------------------------------------------------------------------------


def editor_of(schema: Schema) -> Validity:
    """Whether a document fits, as an editor has it: JSON Schema, with patterns as in ECMA-262."""

    def check(_self: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(value, str) and not is_match(pattern, value):
            yield ValidationError(f"does not match {pattern}")

    extend: Any = validators.extend
    found: Validity = extend(jsonschema.Draft202012Validator, {"pattern": check})(schema).is_valid
    return found


_FILES = {"runbook": "deploy.yaml", "project": "project.yaml"}


class Project:
    """A folder with a runbook, its project and an environment, one of which is tried."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder, self._registry = folder, registry
        steps = "steps: [{id: a, uses: wait, with: {for: 1s}}]"
        self._sound = {
            "runbook": f"runbook: v1\nname: deploy\n{steps}\n",
            "project": json.dumps({"project": "shop", "resources": RESOURCES}),
        }
        for name, text in (("rollback", "for: deploy.yaml\n"), ("other", "")):
            (folder / f"{name}.yaml").write_text(f"runbook: v1\nname: {name}\n{text}{steps}\n")

    def findings(self, name: str, text: str) -> set[str]:
        """The codes of what the program finds in a file of that sort."""
        if name == "environment":
            path = self._folder / "environment.txt"  # by itself, so that it is laid over nothing
            path.write_text(text, encoding="utf-8")
            layers = read_layers(path, (), self._registry)
            return {found.code for layer in layers for found in layer.diagnostics}
        texts = {**self._sound, name: text}
        paths = {each: self._folder / file for each, file in _FILES.items()}
        for each, path in paths.items():
            path.write_text(texts[each], encoding="utf-8")
        try:
            compile_runbook(paths["runbook"], registry=self._registry, read=declared_defaults)
        except InvalidRunbook as error:
            own = [each for each in error.diagnostics if each.file == str(paths[name])]
            return {each.code for each in own if each.is_error}
        except InputError as error:
            return {error.code}
        return set()


MOST = 600
"""So many documents of a schema must do to have had all of it; half of them do as a rule."""


@dataclass
class Trial:
    """What became of documents of every schema, some of them spoilt."""

    outcomes: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)
    unmade: list[str] = field(default_factory=list)
    """What the schemas have, and no document that fits them had."""

    def compare(self, name: str, text: str, codes: set[str], *, is_fit: bool) -> None:
        """Compare what the editor and what the program says of a document."""
        is_refused = any(code[:3] in ("RB1", "RB2") for code in codes)
        if is_fit == is_refused:
            self.disagreements.append(f"{name}, {'fits' if is_fit else 'unfit'}, {codes}: {text}")
        verdict = "unfit" if not is_fit else "compiles" if not codes else "is of no use"
        self.outcomes[f"{name} {verdict}"] += 1


def tried(seed: int, count: int, folder: Path) -> Trial:
    """All that the schemas have, made and compared, and then so many documents more."""
    trial, dice, registry = Trial(), Random(seed), discover()
    project = Project(folder, registry)
    makers = {name: Maker(schema_of(name), dice, TEXTS, NAMED) for name in NAMES}
    editors = {name: editor_of(schema_of(name)) for name in NAMES}

    def one(name: str, *, is_spoilt: bool) -> None:
        document = meant(makers[name].document(), registry, dice)
        if is_spoilt:
            document = spoiled(document, dice)
        is_fit = editors[name](document)
        if is_fit and not is_spoilt:
            makers[name].keep()
        text = written(document, dice)
        try:
            codes = project.findings(name, text)
        except Exception as error:
            error.add_note(text)
            raise
        trial.compare(name, text, codes, is_fit=is_fit)

    for name, maker in makers.items():
        for _ in range(MOST):
            if maker.unmade:
                one(name, is_spoilt=False)
        trial.unmade += [f"{name}: {mark}" for mark in sorted(maker.unmade)]
    for _ in range(count):
        one(dice.choice(["runbook", "runbook", *NAMES]), is_spoilt=dice.random() < 0.5)
    return trial


def main(seed: int, count: int) -> None:
    """Tell what became of so many documents."""
    with tempfile.TemporaryDirectory() as folder:
        trial = tried(seed, count, Path(folder))
    print(json.dumps(vars(trial), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
