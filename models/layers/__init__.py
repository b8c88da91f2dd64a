"""What models are made of, and the search over what they make.

Enters: indices and numbers as tensors. Leaves: vectors, states, lists. May
import the options (`models.config`).
"""
