"""Run `jp2batch serve` with marked files: a read of them crashes, hangs or is slow.

The variable LIMITS can set limits without an option.
"""

import functools
import json
import os

from jp2batch.cli import main
from jp2batch.service import app, settings
from support import deliveries

if __name__ == "__main__":
    app.open_below = deliveries.dangerous_open
    settings.Limits = functools.partial(settings.Limits, **json.loads(os.environ.get("LIMITS", "{}")))
    main()
