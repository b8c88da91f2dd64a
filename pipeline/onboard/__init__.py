"""From files nobody described to a config, and what the data are like.

Enters: paths. Leaves: a commented config, sentences. May import `prepare`,
`sources`, `tables` and `run`.
"""
