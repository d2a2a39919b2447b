"""State of a run beside its output: lease, marker, place."""
