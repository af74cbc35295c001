"""Strongroom beside what people would use in its place, measured on one machine in turns.

`python -m bench` starts every server that it compares, loads them with wrk, and writes a table, a
plot and the verdict on each goal. `docs/performance.md` says how to read them.
"""
