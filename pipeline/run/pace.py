"""How fast a training goes and how long the rest of it takes."""

import time
from collections.abc import Callable


class Pace:
    """Says one line after every epoch, as a detail of its step.

    Args:
        progress: Receives the lines.
        epochs: How many there are at most.
        examples: In an epoch.
        done: Epochs of an earlier process, which took no time here.
    """

    def __init__(
        self,
        progress: Callable[[str], None],
        epochs: int,
        examples: int,
        done: int = 0,
    ) -> None:
        self._progress = progress
        self._epochs, self._examples, self._done = epochs, examples, done
        self._start = time.monotonic()

    def __call__(self, epoch: int, *figures: str) -> None:
        """Writes the line.

        Args:
            epoch: Which one ended, from 1.
            figures: What it brought.
        """
        took = max(time.monotonic() - self._start, 1e-9) / (epoch - self._done)
        shown = (
            *figures,
            f"{self._examples / took:,.0f} examples/s",
            f"at most {took * (self._epochs - epoch):.0f} s left",
        )
        self._progress(f"  epoch {epoch} of {self._epochs}: {', '.join(shown)}")
