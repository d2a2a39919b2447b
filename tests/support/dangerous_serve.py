"""`jp2batch serve` for files that are marked: reading one crashes its worker, hangs, or takes its time.

The variable LIMITS may have limits that no option gives.
"""

import functools
import json
import os

from jp2batch.cli import main
from jp2batch.service import app, settings
from support import deliveries

if __name__ == "__main__":
    app.select_within = deliveries.dangerous_select
    settings.Limits = functools.partial(settings.Limits, **json.loads(os.environ.get("LIMITS", "{}")))
    main()
