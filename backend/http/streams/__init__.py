"""Streams: feeds as Server-Sent Events.

One `Source` for each feed hears of commits and takes their entries once. It encodes them once for
all clients that want the same, and writes the bytes to the connections of these clients.
"""
