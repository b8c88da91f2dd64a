"""How the copies of a model train together: the strategy and its meetings.

One process with at most one GPU trains plainly; one with several GPUs mirrors
the model on them; several workers train one model together.
"""

import tensorflow as tf

from pipeline.run.workers import Workers


class Team:
    """A strategy with what training needs to know of it.

    Made before any other TensorFlow work where there are several workers.
    """

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        if workers.count > 1:
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": list(workers.addresses)}),
                task_type="worker",
                task_id=workers.index,
                rpc_layer="grpc",
            )
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy(
                cluster_resolver=resolver
            )
        elif len(tf.config.list_physical_devices("GPU")) > 1:
            self.strategy = tf.distribute.MirroredStrategy()
        else:
            self.strategy = tf.distribute.get_strategy()

    @property
    def is_chief(self) -> bool:
        """Whether this process validates and writes."""
        return self.workers.is_chief

    @property
    def share(self) -> tuple[int, int]:
        """Which of how many shares of the data this process reads."""
        return self.workers.index, self.workers.count

    @property
    def num_replicas(self) -> int:
        """Copies of the model, over all processes."""
        return int(self.strategy.num_replicas_in_sync)

    def distribute(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """This process's endless batches, one a copy in turn."""
        if self.num_replicas == 1:
            return dataset
        # Endless, so no step has to ask whether all workers have a batch.
        endless = tf.data.experimental.assert_cardinality(
            tf.data.INFINITE_CARDINALITY
        )
        return self.strategy.distribute_datasets_from_function(
            lambda _context: dataset.apply(endless)
        )

    def agree(self, value: float) -> float:
        """The chief's value, everywhere; a meeting of all workers."""
        if self.workers.count == 1:
            return value

        def add() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            is_first = context.replica_id_in_sync_group == 0
            mine = tf.where(is_first, tf.constant(value, tf.float64), 0.0)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        found = self.strategy.run(tf.function(add))
        return float(self.strategy.experimental_local_results(found)[0])
