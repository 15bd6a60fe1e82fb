"""How a node thinks. Knows models and tools through ports; never Kafka, never SQL."""
