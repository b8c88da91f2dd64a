"""The canonical tables and the checks every row passes on its way there.

Enters: Arrow batches of raw columns. Leaves: one Parquet file a table, and
the rows that break a rule, with their reason. May import `tables`.
"""
