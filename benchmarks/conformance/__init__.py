"""Compare readers of JPEG 2000 on many layouts: `python -m benchmarks.conformance`."""

import sys

from benchmarks import ROOT

if (_TESTS := str(ROOT / "tests")) not in sys.path:
    sys.path.append(_TESTS)  # whose folder `support` has the makers of files
