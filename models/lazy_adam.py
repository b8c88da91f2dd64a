"""AdamW that leaves alone the rows of a table that a step does not read.

Dense AdamW goes over every row of a table and of its moments in every step:
where a table has a million rows and a step reads some thousand, that is most
of the time. Here a row that is not read is left as it is. Before it is read
again it is caught up with the steps it missed, as dense AdamW would have moved
it: its moments decay, what is left of its momentum carries it on, weight decay
shrinks it. A row that every step reads is trained as by dense AdamW.

With `r = beta_1 / sqrt(beta_2)`, a row last updated at step s that missed the
steps up to t moves on by `u = m / (sqrt(v) + epsilon)` times the sum of
`r^(i - s)` times the rate of step i: a geometric series over the schedule,
which is known, so that two numbers from a table give it whatever was missed.
Epsilon alone is taken as if it faded with `sqrt(v)`.

Shape letters: R rows of a table, W width, K rows of a step, T steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Rows that are caught up at a time where all are.
_BLOCK = 65_536


class Read(NamedTuple):
    """Rows `[K]` of a table `[R]` or `[R, W]` that a step is to read."""

    table: tf.Variable
    rows: tf.Tensor


class LazyAdamW(tf.keras.optimizers.AdamW):
    """AdamW for tables of which a step reads few rows.

    Args:
        tables: Variables `[R]` or `[R, W]` whose rows are updated alone; they
            must be read with `tf.gather`, after `catch_up`.
        steps: T, those that `learning_rate` is made for.
        learning_rate: A schedule.
        **options: Of `tf.keras.optimizers.AdamW`.
    """

    def __init__(
        self,
        tables: Sequence[tf.Variable],
        steps: int,
        learning_rate: tf.keras.optimizers.schedules.LearningRateSchedule,
        **options: float,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.tables = list(tables)
        self.steps = steps
        self._keys = {table.ref() for table in tables}

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Makes the moments, and the step each row is caught up with."""
        is_built = getattr(self, "_built", False)
        super().build(var_list)
        if is_built:
            return
        steps = tf.range(self.steps, dtype=tf.float32)
        rates = tf.map_fn(self._learning_rate, steps).numpy().astype(float)
        kept = np.log1p(-(self.weight_decay or 0.0) * rates)
        self._shares = tf.constant(np.append(0.0, np.cumsum(kept)))
        self._ways = {
            is_decayed: tf.constant(self._coast(rates, kept * is_decayed))
            for is_decayed in (False, True)
        }
        self._last = {
            table.ref(): self.add_variable([table.shape[0]], tf.int32)
            for table in self.tables
        }

    def catch_up(self, table: tf.Variable, rows: tf.Tensor) -> None:
        """Makes rows what dense AdamW would have made of them by now.

        Args:
            table: One of `tables`.
            rows: int32 `[K]`; repeats are harmless.
        """
        self._assign(table, rows, self.iterations, *self._now(table, rows))

    def settle(self) -> None:
        """Catches every row up, to be read by others."""
        for table in self.tables:
            for rows in blocks(table):
                self.catch_up(table, rows)

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable
    ) -> None:
        """Updates the rows of a table that have a gradient, or a variable.

        Raises:
            TypeError: If a table has a dense gradient.
        """
        if variable.ref() not in self._keys:
            super().update_step(gradient, variable)
            return
        if not isinstance(gradient, tf.IndexedSlices):
            raise TypeError(
                "A table whose rows are updated alone must be read with "
                f"tf.gather. Received: a dense gradient of {variable.name}."
            )
        slopes, rows = gradient.values, gradient.indices
        step = tf.cast(self.iterations + 1, slopes.dtype)
        rate = tf.cast(self.learning_rate, slopes.dtype)
        weights, m, v = self._now(variable, rows)
        if self._is_decayed(variable):
            weights -= weights * self.weight_decay * rate
        m += (slopes - m) * (1 - self.beta_1)
        v += (tf.square(slopes) - v) * (1 - self.beta_2)
        pace = rate * tf.sqrt(1 - tf.pow(self.beta_2, step))
        pace /= 1 - tf.pow(self.beta_1, step)
        weights -= (m * pace) / (tf.sqrt(v) + self.epsilon)
        self._assign(variable, rows, self.iterations + 1, weights, m, v)

    def _now(
        self, table: tf.Variable, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Weights and moments of rows, caught up, `[K]` or `[K, W]` each."""
        weights, m, v = (tf.gather(of, rows) for of in self._state(table))
        last = tf.gather(self._last[table.ref()], rows)
        now = tf.cast(self.iterations, tf.int32)
        missed = tf.cast(now - last, tf.float64)
        is_decayed = self._is_decayed(table)
        share = tf.ones_like(missed)
        if is_decayed:
            share = tf.gather(self._shares, now) - tf.gather(self._shares, last)
            share = tf.exp(share)
        way = self._ways[is_decayed]
        way = tf.gather(way, now) * self._fading**missed - share * tf.gather(
            way, last
        )
        share, way, first, second = (
            _beside(values, weights)
            for values in (
                share,
                way,
                self.beta_1**missed,
                self.beta_2**missed,
            )
        )
        weights = weights * share + way * m / (tf.sqrt(v) + self.epsilon)
        return weights, m * first, v * second

    def _assign(
        self,
        table: tf.Variable,
        rows: tf.Tensor,
        step: tf.Tensor,
        *values: tf.Tensor,
    ) -> None:
        for variable, found in zip(self._state(table), values, strict=True):
            variable.scatter_update(tf.IndexedSlices(found, rows))
        steps = tf.fill(tf.shape(rows), tf.cast(step, tf.int32))
        self._last[table.ref()].scatter_update(tf.IndexedSlices(steps, rows))

    def _state(self, table: tf.Variable) -> tuple[tf.Variable, ...]:
        place = self._index_dict[self._var_key(table)]
        return table, self._momentums[place], self._velocities[place]

    @property
    def _fading(self) -> float:
        return self.beta_1 / self.beta_2**0.5

    def _coast(self, rates: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """How far unit momentum carries a row after each step, `[T + 1]`.

        Args:
            rates: Of the schedule `[T]`.
            kept: Logs of what weight decay leaves in each step `[T]`.
        """
        step = np.arange(1, len(rates) + 1)
        paces = rates * np.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        ways = np.zeros(len(rates) + 1)
        for place in range(len(rates) - 1, -1, -1):
            ways[place] = (
                self._fading
                * (paces[place] + ways[place + 1])
                / np.exp(kept[place])
            )
        return ways

    def _is_decayed(self, variable: tf.Variable) -> bool:
        """Whether weight decay is for the variable, as Keras decides it."""
        return bool(self.weight_decay) and super()._use_weight_decay(variable)

    def _use_weight_decay(self, variable: tf.Variable) -> bool:
        # Keras would shrink whole tables; `_now` and `update_step` do rows.
        is_lazy = variable.ref() in self._keys
        return not is_lazy and super()._use_weight_decay(variable)


def blocks(table: tf.Variable) -> list[tf.Tensor]:
    """All rows of a table, so many at a time."""
    stop = table.shape[0]
    return [
        tf.range(start, min(start + _BLOCK, stop))
        for start in range(0, stop, _BLOCK)
    ]


def _beside(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Values `[K]` as factors of rows `[K]` or `[K, W]`."""
    values = tf.cast(values, rows.dtype)
    return values if rows.shape.rank == 1 else values[:, tf.newaxis]
