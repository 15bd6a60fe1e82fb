"""Counts what was spent, in Faust tables: cost, tokens, errors and latency by the hour; how nodes and runs ended."""
