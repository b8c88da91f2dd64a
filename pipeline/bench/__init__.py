"""What choices and sizes cost.

Enters: options. Leaves: figures in artifacts/bench. May import all but
`terminal`.
"""
