"""Many requests on dask: from a manifest to results, records and files."""
