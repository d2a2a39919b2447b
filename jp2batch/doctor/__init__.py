"""What is installed, found and reachable; and the cure for what is not."""
