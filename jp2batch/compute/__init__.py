"""Run work: in threads, on dask clusters, or in a process of its own."""
