"""Shared vocabulary: requests, locations, errors, configuration, costs."""
