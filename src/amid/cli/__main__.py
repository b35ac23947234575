"""The command line as a module: python -m amid.cli."""

from amid.cli.app import main

main()
