"""The same questions to the in-memory broker and to the real one: the simulation is worth what these answers have in common."""
