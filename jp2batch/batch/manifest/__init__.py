"""Manifests: what is to be read, in whatever form somebody has it."""
