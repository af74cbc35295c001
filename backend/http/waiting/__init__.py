"""`Prefer: wait=N`: requests that wait until there is something to tell.

A `GET` with `If-None-Match` waits for another answer, and a claim for a run. `Waits` hears of
commits, and wakes those whom they concern. A request that waits holds no slot.
"""
