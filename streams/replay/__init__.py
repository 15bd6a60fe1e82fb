"""The log again: looked at, checked against today's reducer, copied elsewhere, run from the middle, made into rows anew.

Nothing here joins a consumer group or moves a position of the processors.
"""
