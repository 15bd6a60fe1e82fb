"""Which model answers a call: the cheapest that is good enough, and what it cost. No client and no clock of its own."""
