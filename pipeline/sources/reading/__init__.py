"""Files of any place and format, read as Arrow batches of raw columns.

Enters: paths. Leaves: batches with the line of each row. May import
`sources.canonical`, `tables` and `run.manifest`.
"""
