"""Whether routing is worth it, on recorded outcomes and traffic. Only what learns needs numpy, and no call needs any of it."""
