"""A made-up shop whose logs a newcomer could have."""

import csv
import datetime
import random
from pathlib import Path

NUM_PRODUCTS = 80


def _write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def make_shop(directory: Path, num_customers: int = 300) -> None:
    """Writes orders.csv and products.csv.

    Customers buy their way along a shelf of 80 products.
    """
    rng = random.Random(0)
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    orders: list[list[object]] = []
    for customer in range(num_customers):
        place, day = rng.randrange(NUM_PRODUCTS), rng.random() * 200
        for _ in range(10):
            place = (place + rng.choice((1, 1, 1, 2))) % NUM_PRODUCTS
            day += rng.random() * 10
            moment = start + datetime.timedelta(days=day)
            orders.append(
                [
                    f"o{len(orders)}",
                    f"c{customer}",
                    f"P{place:03d}",
                    moment.strftime("%Y-%m-%d %H:%M:%S"),
                    rng.randint(1, 3),
                ]
            )
    _write(
        directory / "orders.csv",
        ["order", "customer", "sku", "ordered_at", "quantity"],
        orders,
    )
    _write(
        directory / "products.csv",
        ["sku", "name", "category", "price"],
        [
            [f"P{n:03d}", f"Thing {n}", "abcd"[n % 4], 5 + n % 17]
            for n in range(NUM_PRODUCTS)
        ],
    )
