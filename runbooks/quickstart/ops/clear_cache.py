"""Clears the shop's cache. With a file `fault` beside it, fails once and removes it. Sample, not product."""

import sys
from pathlib import Path

fault = Path(__file__).with_name("fault")
if fault.exists():
    sys.stderr.write("connecting to the cache server\n" + fault.read_text())
    fault.unlink()
    sys.exit(1)
print("cache cleared")
