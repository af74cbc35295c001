"""A benchmark of Strongroom and its alternatives, measured in turns on one machine.

`python -m bench` starts every server that it compares, loads them with wrk, and writes a table, a
plot and the verdict on each goal. `docs/performance.md` explains how to read them.
"""
