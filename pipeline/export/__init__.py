"""Writes trained models as SavedModels that stand alone.

Enters: the training steps' directories. Leaves: one bundle. May import
`ranking`, `retrieval` and what they may.
"""
