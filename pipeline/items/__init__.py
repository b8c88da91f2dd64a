"""Other items for the live version, without training.

Enters: a table of the catalogue as of now, the models behind the live version.
Leaves: a release of the same models whose index, filters and features are of
that catalogue. May import `release` and what it may.
"""
