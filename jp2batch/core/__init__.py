"""The words that everybody speaks: requests, locations, errors, configuration, costs."""
