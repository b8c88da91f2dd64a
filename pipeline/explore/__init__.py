"""A page that asks every model about one history, side by side.

Enters: the tables of a run, what is published or served. Leaves: a page on
this machine, and the catalogue's vectors for TensorBoard. Nothing is trained
or measured for them; baselines are fitted as they were evaluated.
"""
