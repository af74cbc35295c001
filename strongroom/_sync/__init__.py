# Made of strongroom/_async by `make schema`: change it there.
"""The synchronous client."""
