"""Durations, sizes and fractions as people write them, to numbers and back. Pure."""

import math
import re

_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS_BYTES = {
    "B": 1,
    "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4,
    "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4,
}  # fmt: skip
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+)$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$"
FRACTION_PATTERN = r"^([0-9]+(\.[0-9]+)?%?)$"


def parse_duration_s(text: str) -> float:
    """Seconds in `90s`, `10m`, `1h30m`, `1.5s` or bare seconds; raises ValueError."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"expected a duration such as 90s, 10m or 1h30m, found `{text}`")
    parts = re.findall(r"([0-9.]+)(ms|s|m|h|d)", text) or [(text, "s")]
    duration_s = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
    if math.isinf(duration_s):
        raise ValueError(f"expected a duration that a number can hold, found `{text}`")
    return duration_s


def parse_size_bytes(text: str) -> int:
    """Bytes in `512MiB`, `10GB` or a bare whole number; raises ValueError."""
    if not re.fullmatch(SIZE_PATTERN, text):
        raise ValueError(f"expected a size such as 512MiB or 10GB, found `{text}`")
    number, unit = re.findall(r"^([0-9.]+) ?(\w*)$", text)[0]
    if not unit and "." in number:
        raise ValueError(f"expected a whole number of bytes, or a unit, found `{text}`")
    size_bytes = float(number) * _SIZE_UNITS_BYTES[unit or "B"]
    if math.isinf(size_bytes):
        raise ValueError(f"expected a size that a number can hold, found `{text}`")
    return int(size_bytes)


def parse_fraction(text: str) -> float:
    """A number from 0 to 1, written `0.10` or `10%`; raises ValueError."""
    if not re.fullmatch(FRACTION_PATTERN, text):
        raise ValueError(f"expected a fraction such as 0.10 or 10%, found `{text}`")
    value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"expected a fraction from 0 to 1, found `{text}`")
    return value


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
