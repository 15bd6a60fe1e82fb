"""Pure: graph, conditions, reducer. No clock, no random, no I/O."""
