"""Where the processor time of a request goes: a server with probes, and the table of its parts."""
