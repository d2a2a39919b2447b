"""Batches of requests on dask: manifests, results, records, output files."""
