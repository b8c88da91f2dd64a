"""Your own files, whose columns the config maps to meanings.

Enters: files of any format. Leaves: canonical tables. May import
`sources.reading`, `sources.canonical` and `tables`.
"""
