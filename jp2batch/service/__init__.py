"""The HTTP endpoint: `POST /api/jp2`, on tornado and dask workers."""
