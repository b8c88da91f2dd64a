"""What a model is fed, from nothing and from weights that know a part."""

from dataclasses import dataclass

from models.config import RetrievalConfig
from pipeline.retrieval import feed, targets, task
from pipeline.retrieval.team import Team
from pipeline.run.workers import Workers
from pipeline.warm.seen import Seen
from tests.support.prepared_stub import make_prepared

# Item 7 has come since.
THEN = make_prepared([[2, 3, 4, 5], [5, 4, 3, 2]], 10)
NOW = make_prepared([[2, 3, 4, 5, 7, 7, 6], [5, 4, 3, 2]], 10)


@dataclass(frozen=True)
class Config:
    retrieval: RetrievalConfig
    seed: int = 1


def weights(known):
    """What targets of an epoch weigh, by item."""
    options = RetrievalConfig(
        encoder="bow",
        embedding_dim=4,
        num_heads=1,
        history_length=8,
        batch_positions=64,
    )
    aim = task.Aim("final", known)
    source = feed.Memory(NOW.sequences())
    given = Config(options), NOW, source, aim, Team(Workers())
    made = task.make(*given, lambda line: None)
    found: dict[int, set[float]] = {}
    for batch in made.dataset.take(made.steps):
        pairs = zip(
            batch["target"].numpy(), batch["weight"].numpy(), strict=True
        )
        for item, weight in pairs:
            if weight:
                found.setdefault(int(item), set()).add(float(weight))
    return found


def test_a_training_from_nothing_weighs_all_alike():
    assert set().union(*weights(None).values()) == {1.0}


def test_what_the_start_has_not_learned_counts_twice():
    source = feed.Memory(THEN.sequences())
    rule = targets.rule(RetrievalConfig(), THEN.split, "final", 0, source)
    found = weights(Seen.of(THEN, targets.blocks(source, rule)))
    assert found.pop(7) == {2.0}
    # Of the first user the fourth was the test part then.
    assert found.pop(5) == {1.0, 2.0}
    assert set().union(*found.values()) == {1.0}
