"""The real system on an in-memory log, under a seeded scheduler that breaks everything, checked against an oracle."""
