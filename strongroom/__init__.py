"""Strongroom. `python -m strongroom` is the command.

This package imports nothing of the server, whose modules other programs do not see.
"""
