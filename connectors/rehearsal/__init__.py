"""The rehearsal model: a deterministic stand-in for a language model, behind an OpenAI-compatible endpoint on loopback.

It never learned the sentences it is asked about, and says in every output that it is a stand-in.
"""
