"""Strongroom. `python -m strongroom` is the command."""
