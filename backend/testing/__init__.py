"""What a server for tests has besides: calls that empty the store, set the clock and cause faults.

The composition root imports this package only for such a server.
"""
