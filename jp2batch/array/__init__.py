"""xarray objects: arrays of images, of products, and cubes; file formats."""
