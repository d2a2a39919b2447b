"""Run a batch in threads or on a dask cluster."""
