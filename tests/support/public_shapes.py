"""Logs in the shapes of public data sets and of what shops export."""

from tests.support.data_cases import Shape, moment, objects, purchases, table

SHAPES: dict[str, Shape] = {
    "shown_and_clicked": Shape(
        {
            "log.tsv": table(
                "time\tuid\tcampaign\tconversion\tclick\tcost",
                purchases(
                    lambda n, u, i: (1_600_000_000 + 9_000 * n, u, i,
                                     int(n % 9 == 0), int(n % 5 > 0), n / 7)
                ),
                "\t",
            )
        },
        {"user_id": "uid", "item_id": "campaign", "event": "click",
         "event_weights": {"1": 1.0}},
        told=("left out, as they take back or say no: 0",
              "9 interactions of the type '0' left out"),
        counts=(36, 9, 8),
    ),
    "analytics": Shape(
        {
            "ga4.json": objects(
                purchases(
                    lambda n, u, i: {
                        "event_date": moment(n, "%Y%m%d"),
                        "event_timestamp": str(16 * 10**14 + 10**10 * n),
                        "event_name": ("view_item", "purchase")[n % 2],
                        "event_params": [{"key": "a", "value": {"int": 1}}],
                        "user_pseudo_id": u, "device": {"os": "ios"},
                        "items": [{"item_id": i, "price": 1.5},
                                  {"item_id": f"{i}b", "price": 2.5}],
                    }
                )
            )
        },
        {"user_id": "user_pseudo_id", "item_id": "items.item_id",
         "timestamp": "event_timestamp", "event": "event_name"},
        counts=(90, 9, 16),
    ),
    "mongo": Shape(
        {
            "mongo.json": objects(
                purchases(
                    lambda n, u, i: {
                        "_id": {"$oid": f"{n:024x}"}, "user": {"id": u, "n": n},
                        "product": {"$oid": f"{i}00"},
                        "at": {"$date": {"$numberLong":
                                         str(1_600_000_000_000 + 10**7 * n)}},
                    }
                )
            )
        },
        {"user_id": "user.id", "item_id": "product", "timestamp": "at"},
        counts=(45, 9, 8),
    ),
    "excel": Shape(
        {
            "log.csv": b"\xef\xbb\xbfsep=;\r\n" + table(
                "Kunde;Artikel;Datum;Preis",
                purchases(
                    lambda n, u, i: (u, i, moment(n, "%d.%m.%Y"), f"{n},99")
                ),
                ";",
            ).replace(b"\n", b"\r\n")
        },
        {"user_id": "Kunde", "item_id": "Artikel", "time_format": "%d.%m.%Y"},
        counts=(45, 9, 8),
    ),
    "excel_days": Shape(
        {
            "log.csv": table(
                "customer,product,date",
                purchases(lambda n, u, i: (u, i, f"{44_197 + n * 1.04:.4f}")),
            )
        },
        {"time_format": "excel"},
        told=("2021-01-01 00:00:00 to 2021-02-15",),
    ),
    "two_digit_years": Shape(
        {
            "log.csv": table(
                "day,clock,customer,dish",
                purchases(
                    lambda n, u, i: (moment(n, "%d/%m/%y"),
                                     moment(n, "%I:%M %p"), u, i)
                ),
            )
        },
        {"time_of_day": "clock", "time_format": "%d/%m/%y %I:%M %p",
         "user_id": "customer", "item_id": "dish"},
        told=("2021-04-04 07:17:00 to",),
    ),
    "weeks": Shape(
        {
            "log.csv": table(
                "user,item,week",
                purchases(lambda n, u, i: (u, i, moment(n, "%G-W%V"))),
            )
        },
        {"timestamp": "week", "time_format": "auto"},
        told=("2021-03-29 00:00:00 to",),
    ),
    "plays": Shape(
        {
            "plays.tsv": table(
                "",
                sorted({
                    (f"{u}f3a", f"mb{i}" if i != "i3" else "", f"Band {i}",
                     17 + n * n * 31 % 977)
                    for n, u, i in purchases(lambda n, u, i: (n, u, i))
                }),
                "\t",
            )
        },
        {"columns": ("user_id", "column_2", "item_id", "column_4")},
    ),
    "catalogue_without_names": Shape(
        {
            "log.csv": table(
                "",
                purchases(lambda n, u, i: (n % 9 + 1, 1000 + int(i[1:]),
                                           1_600_000_000 + 90_000 * n)),
            ),
            "items.csv": table(
                "",
                [(n, 1000 + n, f"Film no {chr(65 + n)}", 1990 + n % 3)
                 for n in range(8)],
            ),
        },
        {"items_columns": ("column_1", "column_2", "column_3", "column_4"),
         "items_id": "column_2", "title": "column_3"},
        told=("items table: 8 rows, 0 of them without",),
    ),
    "titles_with_separators": Shape(
        {
            "log.csv": table(
                "User-ID;ISBN;Book-Rating",
                purchases(lambda n, u, i: (u, i, (0, 5, 8)[n % 3])), ";"
            ),
            "books.csv": table(
                "ISBN;Book-Title;Year-Of-Publication",
                [(f"i{n}", f'"Tales &amp; no {n}"',
                  "DK" if n == 3 else 1990 + n) for n in range(8)], ";"
            ),
        },
        {"title": "Book-Title"},
        told=('Book-Title = "text"', "33% of the ratings are 0"),
    ),
    "groceries": Shape(
        {
            "log.csv": table(
                "customer,product,date",
                [(f"c{u}", f"p{(u * 5 + m % 3) % 30}",
                  moment(9 * m + u, "%Y-%m-%d"))
                 for m in range(12) for u in range(9)],
            )
        },
        {"item_id": "product"},
        {"repeat_consumption": True},
        told=("return to an item on another day", "So users take things again"),
    ),
    "by_chance": Shape(
        {
            "log.csv": table(
                "customer,product,date",
                purchases(lambda n, u, i: (u, i, moment(n))),
            )
        },
        {"item_id": "product"},
        {"repeat_consumption": False},
    ),
    "flags": Shape(
        {
            "log.csv": table(
                "user_id,video_id,time_ms," + ",".join("abcdefghijkl"),
                purchases(
                    lambda n, u, i: (u, i, 16 * 10**11 + 9 * 10**6 * n,
                                     *[(n >> m) % 2 for m in range(12)])
                ),
            )
        },
        {"user_id": "user_id", "item_id": "video_id", "timestamp": "time_ms"},
        counts=(45, 9, 8),
    ),
}  # fmt: skip
