"""The terminal. Knows how to ask and how to show; what it shows comes through the ports it is given."""
