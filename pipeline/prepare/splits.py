"""Which interactions are for training, validation and test.

Enters: the canonical interactions. Leaves: the same with `part` (int8 code of
`schema.PARTS`), and the cuts as figures.

A user's interactions are ordered by time, and where times are equal by the
digest of user and item: an order that is the same for every file format and
that carries no information a model could pick up.
"""

import ibis
from ibis import _

from pipeline.prepare import engine as engines
from pipeline.prepare.engine import Engine
from pipeline.run.data import PrepareConfig
from pipeline.tables import schema
from pipeline.tables.schema import DataError, epoch_seconds, iso

# Columns that are keys of their own, or no part of an interaction.
_ORDERED = frozenset(
    "user_id item_id timestamp rating part user_row item_index tie".split()
)


_DAY = 86_400


def tie_break(table: ibis.Table) -> ibis.ir.StringValue:
    """Digest that orders interactions of a user at the same second."""
    return (table.user_id + "|" + table.item_id).hexdigest("md5")


def order(table: ibis.Table) -> list[ibis.Value]:
    """Sort keys of one user's interactions, total up to exact repeats."""
    keys = [table.timestamp, tie_break(table)]
    keys += [table[n] for n in ("rating",) if n in table.columns]
    return keys + rest(table)


def rest(table: ibis.Table) -> list[ibis.Value]:
    """Sort keys of what else an interaction carries: weight and context.

    As text without nulls, which engines sort first or last as they like.
    """
    return [
        table[name].cast("string").fill_null("")
        for name in sorted(set(table.columns) - _ORDERED)
    ]


def select(
    engine: Engine, table: ibis.Table, config: PrepareConfig
) -> ibis.Table:
    """Applies the configured filters to canonical interactions."""
    if config.min_rating != "none" and "rating" in table.columns:
        table = table.filter(_.rating >= config.min_rating)
    first, _slash, last = config.period.partition("/")
    if first:
        table = table.filter(_.timestamp >= epoch_seconds(first))
    if last:
        table = table.filter(_.timestamp < epoch_seconds(last))
    if config.keep_days != "all":
        newest = table.timestamp.max().as_scalar()
        table = table.filter(_.timestamp > newest - config.keep_days * _DAY)
    if config.repeated != "keep" or config.repeat_consumption:
        keys = order(table)
        if config.repeated != "first":
            keys = [ibis.desc(key) for key in keys]
        same = [table.user_id, table.item_id]
        if config.repeat_consumption or config.repeated == "distinct":
            same.append(table.timestamp)
        window = ibis.window(group_by=same, order_by=keys)
        table = table.mutate(turn=ibis.row_number().over(window))
        table = table.filter(_.turn == 0).drop("turn")
    if config.min_user_interactions > 1 or config.min_item_interactions > 1:
        table = _core(engine, table, config)
    return table


def _core(
    engine: Engine, table: ibis.Table, config: PrepareConfig
) -> ibis.Table:
    rows, turn = -1, 0
    while True:
        table = engine.save(table, f"core_{turn}")
        left = engines.count(engine, table)
        if left == rows:
            return table
        rows, turn = left, 1 - turn
        for column, minimum in (
            ("item_id", config.min_item_interactions),
            ("user_id", config.min_user_interactions),
        ):
            if minimum > 1:
                counts = table.group_by(column).aggregate(n=_.count())
                enough = counts.filter(_.n >= minimum).select(column)
                table = table.semi_join(enough, column)


def _drawn(share: float, seed: int, table: ibis.Table) -> ibis.ir.BooleanValue:
    """Whether a row is among the `share`, below 1, with the lowest digests."""
    when = table.timestamp.cast("string")
    text = f"{seed}|" + table.user_id + "|" + table.item_id + "|" + when
    return text.hexdigest("md5") < f"{int(share * 2**32):08x}"


def assign(
    engine: Engine, table: ibis.Table, config: PrepareConfig, seed: int
) -> tuple[ibis.Table, dict[str, object]]:
    """Adds `part` to the interactions that passed; tells the figures behind it.

    Raises:
        DataError: If a cut leaves a part empty.
    """
    if config.split == "leave_last_out":
        return _leave_last_out(table), {
            "rule": "the last interaction of each user with at least 3 is "
            "test, the one before validation"
        }
    if config.split == "temporal":
        return _temporal(engine, table, config)
    test = _drawn(config.test_share, seed, table)
    later = _drawn(config.test_share + config.validation_share, seed, table)
    return table.mutate(part=_part(test, later)), {
        "rule": "interactions drawn by digest; the future leaks into "
        "histories, so these figures only reproduce tutorials"
    }


def _part(
    test: ibis.ir.BooleanValue, validation: ibis.ir.BooleanValue
) -> ibis.Value:
    return ibis.cases(
        (test, schema.TEST),
        (validation, schema.VALIDATION),
        else_=schema.TRAIN,
    ).cast("int8")


def _leave_last_out(table: ibis.Table) -> ibis.Table:
    user = table.user_id
    latest = [ibis.desc(key) for key in order(table)]
    window = ibis.window(group_by=user, order_by=latest)
    table = table.mutate(
        from_end=ibis.row_number().over(window),
        length=table.count().over(ibis.window(group_by=user)),
    )
    test, validation = (
        (table.length >= 3) & (table.from_end == place) for place in (0, 1)
    )
    table = table.mutate(part=_part(test, validation))
    return table.drop("from_end", "length")


def _temporal(
    engine: Engine, table: ibis.Table, config: PrepareConfig
) -> tuple[ibis.Table, dict[str, object]]:
    shares = {
        "validation": 1.0 - config.validation_share - config.test_share,
        "test": 1.0 - config.test_share,
    }
    [found] = engine.collect(
        table.aggregate(
            first=_.timestamp.min(),
            last=_.timestamp.max(),
            **{
                name: _.timestamp.quantile(share).ceil().cast("int64")
                for name, share in shares.items()
            },
        )
    ).to_pylist()
    if not found["first"] < found["validation"] < found["test"]:
        raise DataError(
            "A temporal split needs interactions before, between and after "
            "its two cuts. Received: times from "
            f"{iso(found['first'])} to {iso(found['last'])}, cuts at "
            f"{iso(found['validation'])} and {iso(found['test'])} (from "
            "[prepare]). Check source.timestamp, or set prepare.split to "
            "'leave_last_out'."
        )
    part = _part(*(table.timestamp >= found[n] for n in ("test", "validation")))
    return table.mutate(part=part), {
        "rule": "interactions at a cut or later belong to the later part",
        "validation_from": found["validation"],
        "test_from": found["test"],
    }
