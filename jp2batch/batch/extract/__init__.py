"""Values of fields in many images: inputs, statistics, tables."""
