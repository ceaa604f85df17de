"""Findings as SARIF 2.1.0 (docs.oasis-open.org/sarif), as code scanning services read it."""

from collections.abc import Sequence
from urllib.parse import quote

from runbook import __version__
from runbook.core.plan import JsonObject
from runbook.language.diagnostics import Diagnostic
from runbook.language.findings import FINDINGS


def sarif(diagnostics: Sequence[Diagnostic]) -> JsonObject:
    """One log of one run; its paths are relative to where the program was called."""
    codes = sorted({each.code for each in diagnostics})
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "runbook",
                        "version": __version__,
                        "rules": [_rule(code) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(each, codes.index(each.code)) for each in diagnostics],
            }
        ],
    }


def _rule(code: str) -> JsonObject:
    text = FINDINGS[code]
    return {
        "id": code,
        "shortDescription": {"text": text.partition(". ")[0].rstrip(".") + "."},
        "fullDescription": {"text": text},
        "help": {"text": f"runbook explain {code}"},
    }


def _result(diagnostic: Diagnostic, rule_index: int) -> JsonObject:
    hint = f"; {diagnostic.hint}" if diagnostic.hint else ""
    return {
        "ruleId": diagnostic.code,
        "ruleIndex": rule_index,
        "level": diagnostic.severity,
        "message": {"text": diagnostic.message + hint},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(diagnostic.file)},
                    "region": {
                        "startLine": diagnostic.line,
                        "startColumn": diagnostic.column,
                        "endLine": diagnostic.end_line,
                        "endColumn": diagnostic.end_column,
                    },
                }
            }
        ],
    }
