import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from models.config import RetrievalConfig
from pipeline.measure import requests
from pipeline.prepare.sequences import Writer
from pipeline.retrieval import batches, feed, targets, train, validation
from pipeline.retrieval.batches import Part
from pipeline.run import auto
from pipeline.run.config import Config
from pipeline.tables import past, sequences
from tests.support.prepared_stub import InMemory, make_prepared

SPLITS = ["temporal", "leave_last_out", "random"]


def stored(prepared, directory, row_group_size=50):
    """The tables with their sequences on disk, in small row groups."""
    held = prepared.sequences()
    writer = Writer(
        directory / sequences.FILE,
        pa.array(held.user_ids.tolist(), pa.string()),
        prepared.split != "random",
    )
    writer.row_group_size = row_group_size
    columns = {
        "user_row": past.users_of(held),
        "item_index": held.item_indices,
        "timestamp": held.timestamps,
        "part": held.parts,
    }
    if held.weights is not None:
        columns["weight"] = held.weights
    writer.add(columns)
    writer.close()
    return InMemory(**(vars(prepared) | {"directory": directory}))


def make(split, directory, weighted=False, num_users=60):
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 25, num_users)
    rows = [rng.integers(1, 32, size).tolist() for size in sizes]
    times = np.concatenate([np.sort(rng.integers(0, 900, n)) for n in sizes])
    if split == "temporal":
        parts = np.digitize(times, [600, 800])
    elif split == "random":
        parts = rng.choice([0, 1, 2], len(times), p=[0.8, 0.1, 0.1])
    else:
        parts = np.concatenate(
            [[0] * (n - 2) + [1, 2] if n > 2 else [0] * n for n in sizes]
        )
    prepared = make_prepared(rows, 40, split, times, parts)
    if weighted:
        held = prepared.sequences()
        weights = rng.random(len(times)).astype(np.float32)
        prepared.summary["sequences"] = replace(held, weights=weights)
    prepared = stored(prepared, directory)
    memory = feed.Memory(prepared.sequences())
    return prepared, memory, feed.Stream(directory, 120)


def rules(options, split, source):
    for which in ("base", "final"):
        yield targets.rule(options, split, which, 5, source)


@pytest.mark.parametrize("split", SPLITS)
def test_a_stream_says_what_memory_says(split, tmp_path):
    prepared, memory, stream = make(split, tmp_path, weighted=True)
    chunks = list(stream.chunks())
    assert len(chunks) > 3
    options = RetrievalConfig(ranking_holdout=0.3)
    held = prepared.sequences()
    joined = sequences.join([chunk.sequences for chunk in chunks])
    for name in ("offsets", "item_indices", "timestamps", "parts", "weights"):
        np.testing.assert_array_equal(
            getattr(joined, name), getattr(held, name)
        )
    assert targets.reach(split, stream) == targets.reach(split, memory)
    for one, other in zip(
        rules(options, split, memory),
        rules(options, split, stream),
        strict=True,
    ):
        assert one == other
        whole = one.weights(feed.Chunk(held))
        assert 0 < (whole > 0).sum() < len(whole)
        np.testing.assert_array_equal(
            whole, np.concatenate([other.weights(chunk) for chunk in chunks])
        )
        counted, streamed = (
            targets.count(source, one, 42) for source in (memory, stream)
        )
        assert counted[1] == streamed[1] == (whole > 0).sum()
        np.testing.assert_allclose(counted[0], streamed[0])
        assert counted[0].sum() == pytest.approx(whole.sum(), rel=1e-5)
        recent, other_recent = (
            targets.recent(source, one, 42) for source in (memory, stream)
        )
        np.testing.assert_allclose(
            recent.tables, other_recent.tables, atol=1e-5
        )


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("num_users", [0, 9])
def test_validation_draws_the_same_users(split, num_users, tmp_path):
    prepared, memory, stream = make(split, tmp_path)
    plain = requests.make(prepared, "validation", "split", num_users, 0)
    for source in (memory, stream):
        found = validation.draw(source, prepared, num_users, 0)
        np.testing.assert_array_equal(found.rows, plain.rows)
        np.testing.assert_array_equal(found.num_relevant, plain.num_relevant)
        for name in ("histories", "relevant"):
            left, right = getattr(found, name), getattr(plain, name)
            np.testing.assert_array_equal(left.offsets, right.offsets)
            np.testing.assert_array_equal(left.items, right.items)


def epochs(prepared, source, count, share=(0, 1), split="leave_last_out"):
    """(user, target, place in the history) of each example, by epoch."""

    def part(chunk):
        held = chunk.sequences
        rows = np.arange(len(held.user_ids)) + chunk.first_row
        events = len(held.item_indices)
        return Part(
            held,
            rows,
            past.stops(held, split),
            np.ones(events, np.float32),
            np.zeros(events, np.int32),
        )

    read = source.parts(part, share)
    dataset = batches.Cut(8, 32, 7).training(read, prepared)
    total = len(prepared.sequences().item_indices)
    found, seen, order = [], 0, []
    for batch in dataset.as_numpy_iterator():
        users = batch["user_index"][batch["row"]]
        order += list(
            zip(users.tolist(), batch["target"].tolist(), strict=True)
        )
        seen += len(users)
        if share == (0, 1) and seen == total:
            found.append(order)
            seen, order = 0, []
            if len(found) == count:
                return found
        elif share != (0, 1) and len(order) >= total:
            return [order]
    return found


def test_an_epoch_is_every_target_once_in_an_order_of_its_own(tmp_path):
    prepared, memory, stream = make("leave_last_out", tmp_path)
    first, second = epochs(prepared, stream, 2)
    held = prepared.sequences()
    owners = past.users_of(held) + 2
    every = sorted(
        zip(owners.tolist(), held.item_indices.tolist(), strict=True)
    )
    assert sorted(first) == sorted(second) == every
    assert first != second
    # Users from both ends of the file meet in a buffer.
    users = np.array([user for user, _ in first])
    assert max(np.ptp(users[at : at + 60]) for at in range(0, 600, 60)) > 40
    again, _ = epochs(prepared, stream, 2)
    assert again == first


def test_an_epoch_is_the_same_however_fast_it_is_read(tmp_path):
    """Reading ahead draws too: from a state of its own."""
    prepared, _, stream = make("temporal", tmp_path, num_users=200)

    def part(chunk):
        held = chunk.sequences
        size = len(held.item_indices)
        return Part(
            held,
            np.arange(len(held.user_ids)) + chunk.first_row,
            past.stops(held, "temporal"),
            np.ones(size, np.float32),
            np.zeros(size, np.int32),
            5,
            100,
        )

    read = stream.parts(part)
    found = []
    for reader in (read, lambda rng: list(read(rng))):
        dataset = batches.Cut(8, 64, 7).training(reader, prepared)
        found.append(
            [
                batch["target"].tolist()
                for batch in dataset.take(30).as_numpy_iterator()
            ]
        )
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_shares_of_an_epoch_are_disjoint_and_complete(kind, tmp_path):
    prepared, memory, stream = make("leave_last_out", tmp_path)
    source = {"memory": memory, "stream": stream}[kind]
    every = set(epochs(prepared, source, 1)[0])
    rng = np.random.default_rng([7, 0])

    def part(chunk):
        held = chunk.sequences
        rows = np.arange(len(held.user_ids)) + chunk.first_row
        size = len(held.item_indices)
        return Part(
            held,
            rows,
            past.stops(held, "leave_last_out"),
            np.ones(size, np.float32),
            np.zeros(size, np.int32),
        )

    if kind == "stream":
        users = [
            {
                row
                for found in source.parts(part, (index, 3))(
                    np.random.default_rng([7, 0])
                )
                for row in found.user_rows.tolist()
            }
            for index in range(3)
        ]
        assert not users[0] & users[1] | users[1] & users[2]
        assert users[0] | users[1] | users[2] == set(range(60))
    else:
        (found,) = source.parts(part, (1, 3))(rng)
        assert found.share == (1, 3)
        assert len(found.weights) == len(prepared.sequences().item_indices)
    assert every


def test_size_decides(tmp_path, monkeypatch):
    prepared = make("temporal", tmp_path)[0]
    total = prepared.summary["interactions"]
    for limit, kind in ((total, feed.Memory), (total - 1, feed.Stream)):
        monkeypatch.setattr(auto, "STREAM_ABOVE", limit)
        assert isinstance(feed.open_feed(prepared), kind)


def test_streamed_training_finds_the_planted_order(tmp_path, monkeypatch):
    """A ring of items, walked in one direction; users by where they start."""
    monkeypatch.setattr(auto, "STREAM_ABOVE", 0)
    monkeypatch.setattr(feed, "BUFFER", 800)
    starts = np.sort(np.random.default_rng(0).integers(0, 40, 200))
    walks = ((starts[:, None] + np.arange(10)) % 40 + 2).tolist()
    prepared = stored(make_prepared(walks, 40), tmp_path, 300)
    options = RetrievalConfig(
        encoder="bow",
        num_heads=1,
        embedding_dim=16,
        history_length=8,
        batch_positions=256,
        learning_rate=0.02,
        epochs=4,
        refit=False,
    )
    config = Config("ring", 7, retrieval=options)
    train.Training(config, prepared, tmp_path).base()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["base"]["curve"][-1]["ndcg@10"] > 0.8
    model = train.load(config, prepared, tmp_path, "base")
    asked = requests.make(prepared, "validation")
    found = validation.measure(prepared, asked, 8, model)["ndcg@100"]
    best = max(row["ndcg@100"] for row in metrics["base"]["curve"])
    assert found == pytest.approx(best, abs=1e-4)
