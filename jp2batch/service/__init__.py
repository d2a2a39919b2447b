"""The endpoint: the old service's `POST /api/jp2` and its neighbours, on tornado, over workers of dask."""
