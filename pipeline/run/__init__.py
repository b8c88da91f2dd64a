"""One run: its options, what each step of it depends on, its weights.

Enters: a TOML file. Leaves: checked options, manifests. May import `tables`.
"""
