"""`python -m jp2batch`."""

from jp2batch.cli import main

main()
