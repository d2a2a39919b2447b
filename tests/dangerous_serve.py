"""`jp2batch serve` for files that are marked: reading one crashes its worker, hangs, or takes its time."""

import deliveries

from jp2batch.cli import main
from jp2batch.service import app

if __name__ == "__main__":
    app.select_within = deliveries.dangerous_select
    main()
