"""Trains the model that rescores what was retrieved.

Enters: a trained retrieval model. Leaves: a scorer and its tables. May import
`retrieval` and what that may.
"""
