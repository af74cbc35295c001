"""The commands that talk to a running service. They need nothing of the server, and start without
it."""
