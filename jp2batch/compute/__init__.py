"""Run tasks in threads, in subprocesses, or on dask clusters."""
