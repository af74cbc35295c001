"""Excludes everything that is imported so far from the garbage collector, when it is imported.

The process from which others are forked imports it last. A server collects garbage once when it
starts: that would go through all modules again in each of hundreds of processes.
"""

import gc

gc.collect()
gc.freeze()
