"""Trains the two towers and indexes the catalogue.

Enters: prepared tables. Leaves: weights, embeddings, an index. May import
`measure`, `prepare`, `tables` and `run`.
"""
