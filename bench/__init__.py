"""Measurements of the engine on one machine. `make bench`, or `python -m bench --help`."""
