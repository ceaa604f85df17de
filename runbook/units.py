"""Durations, sizes and fractions as people write them, to numbers and back. Pure.

The patterns say all that there is to say of a text, so that an editor knows it, too.
"""

import re

_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS_BYTES = {
    "B": 1,
    "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4,
    "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4,
}  # fmt: skip
_NUMBER = r"[0-9]+(\.[0-9]{1,20})?"
DURATION_PATTERN = rf"^({_NUMBER}|({_NUMBER}(ms|s|m|h|d))+)$"
POSITIVE_DURATION_PATTERN = rf"^(?=.*[1-9])({_NUMBER}|({_NUMBER}(ms|s|m|h|d))+)$"
SIZE_PATTERN = rf"^([0-9]+|{_NUMBER} ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB))$"
FRACTION_PATTERN = r"^(0+(\.[0-9]+)?|0*1(\.0+)?|(0*[0-9]{1,2}(\.[0-9]+)?|0*100(\.0+)?)%)$"
LONGEST_S = 1e9
"""What is longer, about thirty years, is for ever: dates end before the durations do."""
_LARGEST_BYTES = 2**63 - 1


def parse_duration_s(written: str | float) -> float:
    """Seconds in `90s`, `10m`, `1h30m`, `1.5s` or bare seconds; raises ValueError."""
    if not isinstance(written, str):
        return min(written, LONGEST_S)
    if not re.fullmatch(DURATION_PATTERN, written):
        raise ValueError(f"expected a duration such as 90s, 10m or 1h30m, found `{written}`")
    parts = re.findall(r"([0-9.]+)(ms|s|m|h|d)", written) or [(written, "s")]
    duration_s = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
    return min(duration_s, LONGEST_S)


def parse_size_bytes(text: str) -> int:
    """Bytes in `512MiB`, `10GB` or a bare whole number; raises ValueError."""
    if not re.fullmatch(SIZE_PATTERN, text):
        raise ValueError(f"expected a size such as 512MiB or 10GB, found `{text}`")
    number, unit = re.findall(r"^([0-9.]+) ?(\w*)$", text)[0]
    return int(min(float(number) * _SIZE_UNITS_BYTES[unit or "B"], _LARGEST_BYTES))


def parse_fraction(text: str) -> float:
    """A number from 0 to 1, written `0.10` or `10%`; raises ValueError."""
    if not re.fullmatch(FRACTION_PATTERN, text):
        raise ValueError(f"expected a fraction from 0 to 1, such as 0.10 or 10%, found `{text}`")
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def format_duration(seconds: float) -> str:
    """`0.4s`, `12s`, `3m12s`, `1h05m`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def format_size(size_bytes: int) -> str:
    """`812 B`, `4.1 kB`, `2.3 GB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
