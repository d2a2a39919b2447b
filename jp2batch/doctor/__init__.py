"""Check installation, configuration and access; hint at repairs."""
