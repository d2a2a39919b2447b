"""STAC items: documents of every form, their assets, and facts."""
