"""Split and encoded tables from anybody's log.

Enters: batches of a source. Leaves: the prepared tables. May import `sources`,
`tables` and `run`.
"""
