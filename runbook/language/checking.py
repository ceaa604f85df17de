"""All that is wrong or doubtful in a runbook, in every environment that it may run in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runbook.errors import InputError
from runbook.language.conditions import check_conditions
from runbook.language.declarations import check_bundle, check_declarations
from runbook.language.diagnostics import Diagnostic, InvalidRunbook, did_you_mean, in_order
from runbook.language.document import Bundle, Document, read_bundle
from runbook.language.doubts import warn_of_doubts, warn_of_unused
from runbook.language.environments import check_names, environments_beside, read_layers
from runbook.language.names import Names
from runbook.language.reading import read_source
from runbook.language.rules import check_rules
from runbook.language.unset import check_unset
from runbook.registry import Registry


def validate(path: Path, *, registry: Registry, environment: str | None = None) -> list[Diagnostic]:
    """Everything that is wrong or doubtful in a runbook and the files that it names.

    By itself in each of its environments, or in the one that is named.

    Raises:
        InputError: there is no environment of that name.
    """
    known = environments_beside(path)
    if environment is not None:
        names: Sequence[str | None] = [environment]
        _refuse_unknown(path, environment)
    else:
        names = list(known) or [None]
    found = [_read_checked(path, registry, name, ())[1] for name in names]
    files = [str(known.get(name or "", "")) for name in names]
    return _in_all(names, files, found)


def read_valid(
    path: Path,
    *,
    registry: Registry,
    environment: str | None,
    vars_files: Iterable[Path],
) -> Bundle:
    """A runbook and the files that it names, in its environment, without errors.

    Raises:
        InvalidRunbook: carries all diagnostics.
        InputError: there is no such environment, or none was chosen and there are some.
    """
    known = environments_beside(path)
    if environment is not None:
        _refuse_unknown(path, environment)
    elif known and path.is_file():
        raise InputError(
            f"`{path}` runs in an environment, and none was chosen: there are {', '.join(known)}",
            hint=f"add --env {_unprotected(known) or 'NAME'}",
        )
    bundle, diagnostics = _read_checked(path, registry, environment, vars_files)
    if any(diagnostic.is_error for diagnostic in diagnostics):
        raise InvalidRunbook(diagnostics)
    return bundle


def _unprotected(known: Mapping[str, Path]) -> str | None:
    """An environment that may be proposed: whoever copies a hint must not end up in production."""
    for name, file in known.items():
        protected = read_source(file).root.get("protected")
        if protected is None or protected.value is False:
            return name
    return None


def _refuse_unknown(path: Path, environment: str) -> None:
    known = environments_beside(path)
    if environment not in known and path.exists():  # else that is what is wrong
        near = did_you_mean(environment, known)
        raise InputError(
            f"there is no environment `{environment}` in `{path.parent / 'environments'}`",
            hint=near or ("leave out --env" if not known else None),
        )


def _read_checked(
    path: Path, registry: Registry, environment: str | None, vars_files: Iterable[Path]
) -> tuple[Bundle, list[Diagnostic]]:
    file = environments_beside(path).get(environment) if environment else None
    layers = read_layers(file, vars_files, registry)
    bundle = read_bundle(path, registry, layers)
    sources = bundle.sources()
    if all(source.is_readable for source in sources):
        check_names(layers, path.parent)
        _check(bundle.main, bundle.undone, bundle.rollback)
        if bundle.rollback:
            _check(bundle.rollback, bundle.main, None)
            check_bundle(bundle)
        for document in filter(None, (bundle.main, bundle.rollback)):
            _check_refusals(document, registry)
    return bundle, in_order(found for source in sources for found in source.diagnostics)


def _in_all(
    names: Sequence[str | None], files: Sequence[str], found: Sequence[list[Diagnostic]]
) -> list[Diagnostic]:
    """Every error, with its environment where it is not in all; the warnings that are in all."""
    in_all = frozenset.intersection(*map(frozenset, found))
    united = []
    for name, file, diagnostics in zip(names, files, found, strict=True):
        for diagnostic in diagnostics:
            if diagnostic.file == file or diagnostic in in_all:
                united.append(diagnostic)
            elif diagnostic.is_error:
                message = f"{diagnostic.message} (in environment `{name}`)"
                united.append(replace(diagnostic, message=message))
    return in_order(united)


def _check(document: Document, undone: Document | None, rollback: Document | None) -> None:
    check_declarations(document)
    names = Names(document)
    names.check()
    check_unset(document, names.uses)
    check_rules(document, undone)
    check_conditions(document)
    warn_of_doubts(document, rollback)
    warn_of_unused(document, names.used_inputs)


def _check_refusals(document: Document, registry: Registry) -> None:
    sources = filter(None, (document.source, document.project))
    if any(found.is_error for source in sources for found in source.diagnostics):
        return
    if any(step.kind and step.kind.has_rules for step in document.steps):
        from runbook.language.refusals import check_refusals

        check_refusals(document, registry)
