"""What is installed, found and reachable; and the hint for what is not."""
