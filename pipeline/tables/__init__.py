"""What prepared data are: their columns, their files, how they are read.

Enters: the directory of the prepare step. Leaves: arrays by user and item. May
import nothing of the pipeline.
"""
