"""Drivers: a file for each library reading from stores."""
