"""The pipeline's commands, reading any log in small row groups.

`python -m tests.support.small_groups` takes what `python -m pipeline` takes.
"""

import sys

from pipeline import __main__ as command
from pipeline.prepare import sequences
from pipeline.run import auto

if __name__ == "__main__":
    sequences.ROW_GROUP_SIZE = 300
    auto.STREAM_ABOVE = 0
    sys.exit(command.main())
