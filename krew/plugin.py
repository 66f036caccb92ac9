"""The program that PyInstaller makes the kubectl plugin of: the `computepool` command."""

from computepool.cli.main import main

main()
