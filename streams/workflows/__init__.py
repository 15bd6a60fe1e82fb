"""What authors do with a workflow before it runs: validate it, look at it, simulate it."""
