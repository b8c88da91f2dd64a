"""Starts training from the weights of the live version.

Enters: what that version carries of its training, this run's tables.
Leaves: models whose known rows are where they were, or why none may start so.
May import `tables` and `run`.
"""
