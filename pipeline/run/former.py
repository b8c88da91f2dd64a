"""What was an option once: read as what stands for it now, or refused in words.

A config written years ago is read as it was meant, so that it need not be
touched. Where a constant took an option's place its value alone is let through.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.run import auto

# The value that each has now.
_FIXED: Mapping[str, Mapping[str, object]] = {
    "source": {"order_strength": 0.45},
    "prepare": {
        "min_weight": 0, "user_share": 1, "max_vocabulary": 50_000,
        "max_values": 10, "max_tokens": 12, "row_group_size": 131_072,
        "num_threads": 0,
    },
    "retrieval": {
        "num_layers": 2, "num_id_hashes": 2, "user_features": ["*"],
        "context_features": ["*"], "full_softmax_below": 20_000,
        "num_in_batch_negatives": 0, "num_uniform_negatives": 512,
        "num_hard_negatives": 0, "remove_accidental_hits": True, "logq": True,
        "temperature": 1, "label_smoothing": 0, "warmup_share": 0.05,
        "weight_decay": 0.01, "clip_norm": 5, "averaging": 0.998,
        "patience": 3, "validation_users": 5000, "recency_half_life": 0,
        "recent_popularity": True, "horizon": 0, "streaming": "auto",
        "stream_above": 20_000_000, "shuffle_interactions": 2_000_000,
    },
    "index": {"exact_below": auto.EXACT_BELOW, "num_tuning_queries": 500},
    "ranking": {
        "list_size": 200, "num_random_negatives": 0, "num_neighbours": 100,
        "history_length": 30, "num_cross_layers": 2, "hidden_units": [64, 32],
        "dropout": 0.1, "learning_rate": 0.005, "weight_decay": 0.05,
        "batch_size": 128, "patience": 3, "max_lists": 50_000,
        "predict_ratings": True,
    },
    "student": {
        "num_heads": 3, "hidden_units": 32, "dropout": 0.1, "mix": 0.7,
        "temperature": 1, "compare": True, "full_softmax_below": 20_000,
        "num_uniform_negatives": 4096, "batch_size": 0, "learning_rate": 0.005,
        "weight_decay": 0.01, "averaging": 0.99,
    },
    "evaluate": {"bootstrap_samples": 1000, "diversity": [0.3]},
}  # fmt: skip

# Booleans of [retrieval], by what `ids` holds where they are true.
_IDS = {"item_id": "item", "user_id": "user", "history_id": "history"}
# Options of [source] by table, by the one that holds them all.
_TABLES = {
    "table_columns": {"items": "items_columns", "users": "users_columns"},
    "table_ids": {"items": "items_id", "users": "users_id"},
}


def as_now(
    section: str, values: Mapping[str, Any], problems: list[str], where: str
) -> dict[str, Any]:
    """A section with its options under the names that they have now.

    The name of now counts where both are given; what has no counterpart is
    added to `problems`.
    """
    read = {
        "source": _source,
        "prepare": _prepare,
        "retrieval": _retrieval,
        "index": _index,
        "publish": _publish,
    }.get(section)
    found = dict(values)
    if read is not None:
        problems += [f"{line} {where}." for line in read(found)]
    return found


def said_of(section: str, key: str, value: object) -> list[str] | None:
    """What is wrong with an option of former times; None for no such one."""
    fixed = _FIXED.get(section, {})
    if key not in fixed:
        return None
    if value == fixed[key]:
        return []
    return [
        f"`{key}` is no option any more and always {fixed[key]!r}. "
        f"Received: {value!r}"
    ]


def _source(values: dict[str, Any]) -> list[str]:
    if (unit := values.pop("time_unit", "auto")) != "auto":
        values.setdefault("time_format", unit)
    if (release := values.pop("release", "")) and not values.get("path"):
        values["path"] = f"${{DATA_DIR}}/ml-{release}.zip"
    # A file's name or its first bytes say it.
    if values.get("format") in ("auto", "csv", "tsv", "jsonl", "parquet"):
        if values.pop("format") == "tsv":
            values.setdefault("delimiter", "\t")
    for now, once in _TABLES.items():
        given = {
            table: value
            for table, name in once.items()
            if (value := values.pop(name, None))
        }
        if given:
            values.setdefault(now, given)
    return []


def _prepare(values: dict[str, Any]) -> list[str]:
    master = values.pop("spark_master", "")
    if master and values.get("engine") == "spark":
        values["engine"] = master
    first, last = values.pop("start_date", ""), values.pop("end_date", "")
    if first or last:
        values.setdefault("period", f"{first}/{last}")
    return []


def _retrieval(values: dict[str, Any]) -> list[str]:
    given = [name for name in _IDS if isinstance(values.get(name), bool)]
    once = {name: values.pop(name) for name in given}
    if once:
        told = {"item_id": True} | once
        values.setdefault(
            "ids", [_IDS[name] for name in _IDS if told.get(name)]
        )
    if "num_mined_negatives" in values:
        number = values.pop("num_mined_negatives")
        if number == 512 and values.get("loss") == "in_batch":
            values["loss"] = "mined"
        elif number:
            return [
                '`num_mined_negatives` is no option any more: loss = "mined" '
                "is in_batch with 512 of them. Received: "
                f"{number!r} and loss = {values.get('loss', 'auto')!r}"
            ]
    return []


def _index(values: dict[str, Any]) -> list[str]:
    if values.get("reordering") not in ("float32", "int8"):
        return []
    kept, kind = values.pop("reordering"), values.get("kind", "auto")
    if kept == "int8" and kind == "scann":
        values["kind"] = "scann_int8"
    elif kept == "int8" and kind == "auto":
        return [
            '`reordering` is no option any more: kind = "scann_int8" keeps a '
            "ScaNN tree's vectors so. Received: 'int8' and kind = 'auto'"
        ]
    return []


def _publish(values: dict[str, Any]) -> list[str]:
    beaten = values.get("must_beat", ["popularity"])
    once = values.get("student_must_beat")
    if not isinstance(once, list) or not isinstance(beaten, list):
        return []
    beaten = beaten[:1]
    if values.pop("student_must_beat") == beaten:
        return []
    return [
        "`student_must_beat` is no option any more: the student must exceed "
        f"the first row of `must_beat`, here {beaten}. Received: {once!r}"
    ]
