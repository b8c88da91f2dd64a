"""Logs as people bring them: once misread, or in the shapes of public data."""

from tests.support.data_cases import (
    Shape,
    bought,
    moment,
    objects,
    purchases,
    table,
)

TWITTER = "%a %b %d %H:%M:%S +0000 %Y"
SHAPES: dict[str, Shape] = {
    "clicks": Shape(
        {"click.json": objects(
            purchases(
                lambda n, u, i: {
                    "session": f"s{n}", "domain": f"{n % 4}.example",
                    "cost": 20 + n * 7 % 31, "user": u, "campaign": i,
                    "ip": f"ip{n % 10}",
                    "action": ("viewed", "clicked", "blocked")[n % 3],
                    "timestamp": 1_420_070_400_000 + 86_400_000 * n,
                }
            )
        )},
        {"user_id": "user", "item_id": "campaign", "timestamp": "timestamp",
         "event_weights": {"viewed": 1.0, "clicked": 1.0}},
        told=("left out, as they take back or say no: blocked",),
    ),
    "mac_lines": Shape(
        {
            "log.csv": bought(
                "user,item,rating,date",
                lambda n, u, i: (u, i, 1 + n % 5, moment(n)),
            ).replace(b"\n", b"\r")
        },
        {"user_id": "user", "item_id": "item", "rating": "rating"},
        counts=(45, 9, 8),
    ),
    "day_first": Shape(
        {"log.csv": table(
            "client;article;date;prix",
            [
                (f"c{n % 9}", f"a{n % 8}",
                 f"{1 + n % 12:02d}/{1 + n // 12:02d}/2021", "10,99")
                for n in range(48)
            ],
            ";",
        )},
        {"user_id": "client", "item_id": "article",
         "time_format": "%d/%m/%Y"},
        told=("%m/%d/%Y fits as well", "in order of time are 100%"),
    ),
    "floats": Shape(
        {
            "a.csv": table(
                "customer,item,date",
                purchases(lambda n, u, i: (f"170{u[1:]}.0", i, moment(n)))[:20],
            ),
            "b.csv": table(
                "customer,item,date",
                purchases(lambda n, u, i: (f"170{u[1:]}", i, moment(n)))[20:],
            ),
        },
        {"user_id": "customer"},
        told=("read without the '.0' of floats in 20 rows",),
        counts=(45, 9, 8),
        folder=True,
    ),
    "foursquare": Shape(
        {"log.txt": bought(
            "",
            lambda n, u, i: (
                470 + n % 9, f"4a{i}", f"c{i[-1]}", f"Shop {i}",
                40.71 + n % 8, -74.0, -240, moment(n, TWITTER),
            ),
            "\t",
        )},
        {"columns": ("user_id", "item_id", "column_3", "title", "column_5",
                     "column_6", "column_7", "timestamp"),
         "time_format": "%a %b %d %H:%M:%S %z %Y"},
        counts=(45, 9, 8),
    ),
    "foursquare_named": Shape(
        {"log.csv": bought(
            "userId,venueId,venueCategoryId,latitude,utcTimestamp",
            lambda n, u, i: (u, i, f"c{n % 3}", 40.7 + n,
                             moment(n, TWITTER)),
        )},
        {"user_id": "userId", "item_id": "venueId",
         "timestamp": "utcTimestamp"},
    ),
    "anonymous": Shape(
        {"log.csv": bought(
            "session_id;user_id;item_id;timeframe;eventdate",
            lambda n, u, i: (
                n // 3, f"5{n}" if n % 3 == 0 else "NA", i,
                300_000 * n, moment(n, "%Y-%m-%d"),
            ),
            ";",
        )},
        {"user_id": "session_id", "item_id": "item_id"},
        told=("or: user_id (has another value in every row, is missing",),
    ),
    "returns": Shape(
        {"log.csv": bought(
            "InvoiceNo,StockCode,Quantity,InvoiceDate,CustomerID,Country",
            lambda n, u, i: (
                f"{'C' if n % 9 == 8 else ''}53{n}", f"2001{i[1:]}",
                -2 if n % 9 == 8 else 3 + n % 4,
                moment(n, "%m/%d/%Y %H:%M"), f"1700{n % 7}", "UK",
            ),
        )},
        {"user_id": "CustomerID", "item_id": "StockCode",
         "quantity": "Quantity", "weight": "Quantity"},
        told=("5 interactions left out because `Quantity` is not above 0",),
        counts=(40, 7, 8),
    ),
    "basket": Shape(
        {"log.csv": table(
            "",
            [
                (f"2016-10-{20 + n // 20}", f"1{n // 15}:{10 + n // 3}:00",
                 1 + n // 3, f"Cake {n * n * n % 29 % 6}")
                for n in range(60)
            ],
        )},
        {"columns": ("timestamp", "time_of_day", "user_id", "item_id"),
         "time_of_day": "time_of_day"},
        counts=(60, 20, 6),
    ),
    "shopify": Shape(
        {"log.csv": bought(
            "Name,Email,Financial Status,Paid at,Total,Created at,"
            "Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,"
            "Billing Name,Billing Phone",
            lambda n, u, i: (
                f"#10{n}", "", "refunded" if n % 9 == 4 else "paid",
                "", "14.00", moment(n, "%Y-%m-%d %H:%M:%S +0500"), 1,
                f"Lamp {i}", "14.00", "", f"Person {u}",
                f"00{n % 9}1234",
            ),
        )},
        {"user_id": "Billing Phone", "item_id": "Lineitem name",
         "timestamp": "Created at", "event": "Financial Status",
         "event_weights": {"paid": 1.0}},
        told=("5 interactions of the type 'refunded' left out",),
    ),
    "sorted": Shape(
        {"log.dat": table(
            "userID\tartistID\tweight",
            [(n, m, 10 + 317 * m % 4000)
             for n in range(2, 12) for m in range(50 + n % 4, 90, 4)],
            "\t",
        )},
        {"user_id": "userID", "item_id": "artistID", "timestamp": ""},
        {"split": "random"},
        told=("one is the highest id, not the latest",),
    ),
    "h_and_m": Shape(
        {
            "log.csv": bought(
                "t_dat,customer_id,article_id,price,sales_channel_id",
                lambda n, u, i: (moment(n, "%Y-%m-%d"), f"00{u}",
                                 f"01087750{i[1:]}", 0.005, 1 + n % 2),
            ),
            "articles.csv": table(
                "article_id,product_code,prod_name,product_type_name,detail_desc",
                [(f"01087750{n}", f"0108775{n}", f"Linen top {n}",
                  ("Shirt", "Vest")[n % 2],
                  f"A nice linen top number {n} for days out in the sun")
                 for n in range(12)],
            ),
        },
        {"user_id": "customer_id", "item_id": "article_id",
         "title": "prod_name"},
    ),
    "yelp": Shape(
        {"review.json": objects(
            purchases(
                lambda n, u, i: {
                    "review_id": f"r{n}", "user_id": u, "business_id": i,
                    "stars": 1.0 + n % 5, "useful": n % 2,
                    "text": f"Made up review {n}, nice.",
                    "date": moment(n),
                }
            )
        )},
        {"user_id": "user_id", "item_id": "business_id", "rating": "stars"},
    ),
    "missing_numbers": Shape(
        {
            "log.csv": bought(
                "user,item,date",
                lambda n, u, i: (u, i, moment(n)),
            ),
            "items.csv": table(
                "item,name,price",
                [(f"i{n}", f"Item {n}",
                  ("NaN", "", "n/a", "NULL", "1.5", "2.5", "3", "4")[n])
                 for n in range(8)],
            ),
        },
        {"title": "name",
         "item_features": {"name": "text", "price": "numeric"}},
        told=("`price` is missing in 4 rows of the items",
              "items table: 8 rows, 0 of them without"),
    ),
    "not_rated": Shape(
        {"rating.csv": bought(
            "user_id,anime_id,rating",
            lambda n, u, i: (u, i, 5 + n % 5 if n % 3 else -1),
        )},
        {"item_id": "anime_id", "rating": "rating"},
        {"min_rating": 5.0},
        told=("33% of the ratings are -1, taken for not rated",),
    ),
    "shown_and_clicked": Shape(
        {"log.tsv": bought(
            "time\tuid\tcampaign\tconversion\tclick\tcost",
            lambda n, u, i: (1_600_000_000 + 9_000 * n, u, i,
                             int(n % 9 == 0), int(n % 5 > 0), n / 7),
            "\t",
        )},
        {"user_id": "uid", "item_id": "campaign", "event": "click",
         "event_weights": {"1": 1.0}},
        told=("left out, as they take back or say no: 0",
              "9 interactions of the type '0' left out"),
        counts=(36, 9, 8),
    ),
    "analytics": Shape(
        {"ga4.json": objects(
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
        )},
        {"user_id": "user_pseudo_id", "item_id": "items.item_id",
         "timestamp": "event_timestamp", "event": "event_name"},
        counts=(90, 9, 16),
    ),
    "mongo": Shape(
        {"mongo.json": objects(
            purchases(
                lambda n, u, i: {
                    "_id": {"$oid": f"{n:024x}"}, "user": {"id": u, "n": n},
                    "product": {"$oid": f"{i}00"},
                    "at": {"$date": {"$numberLong":
                                     str(1_600_000_000_000 + 10**7 * n)}},
                }
            )
        )},
        {"user_id": "user.id", "item_id": "product", "timestamp": "at"},
        counts=(45, 9, 8),
    ),
    "excel": Shape(
        {
            "log.csv": b"\xef\xbb\xbfsep=;\r\n" + bought(
                "Kunde;Artikel;Datum;Preis",
                lambda n, u, i: (u, i, moment(n, "%d.%m.%Y"), f"{n},99"),
                ";",
            ).replace(b"\n", b"\r\n")
        },
        {"user_id": "Kunde", "item_id": "Artikel", "time_format": "%d.%m.%Y"},
        counts=(45, 9, 8),
    ),
    "excel_days": Shape(
        {"log.csv": bought(
            "customer,product,date",
            lambda n, u, i: (u, i, f"{44_197 + n * 1.04:.4f}"),
        )},
        {"time_format": "excel"},
        told=("2021-01-01 00:00:00 to 2021-02-15",),
    ),
    "two_digit_years": Shape(
        {"log.csv": bought(
            "day,clock,customer,dish",
            lambda n, u, i: (moment(n, "%d/%m/%y"),
                             moment(n, "%I:%M %p"), u, i),
        )},
        {"time_of_day": "clock", "time_format": "%d/%m/%y %I:%M %p",
         "user_id": "customer", "item_id": "dish"},
        told=("2021-04-04 07:17:00 to",),
    ),
    "weeks": Shape(
        {"log.csv": bought(
            "user,item,week",
            lambda n, u, i: (u, i, moment(n, "%G-W%V")),
        )},
        {"timestamp": "week", "time_format": "auto"},
        told=("2021-03-29 00:00:00 to",),
    ),
    "plays": Shape(
        {"plays.tsv": table(
            "",
            sorted({
                (f"{u}f3a", f"mb{i}" if i != "i3" else "", f"Band {i}",
                 17 + n * n * 31 % 977)
                for n, u, i in purchases(lambda n, u, i: (n, u, i))
            }),
            "\t",
        )},
        {"columns": ("user_id", "column_2", "item_id", "column_4")},
    ),
    "catalogue_without_names": Shape(
        {
            "log.csv": bought(
                "",
                lambda n, u, i: (n % 9 + 1, 1000 + int(i[1:]),
                                 1_600_000_000 + 90_000 * n),
            ),
            "items.csv": table(
                "",
                [(n, 1000 + n, f"Film no {chr(65 + n)}", 1990 + n % 3)
                 for n in range(8)],
            ),
        },
        {"table_columns": {"items": ("column_1", "column_2", "column_3",
                                     "column_4")},
         "table_ids": {"items": "column_2"}, "title": "column_3"},
        told=("items table: 8 rows, 0 of them without",),
    ),
    "titles_with_separators": Shape(
        {
            "log.csv": bought(
                "User-ID;ISBN;Book-Rating",
                lambda n, u, i: (u, i, (0, 5, 8)[n % 3]),
                ";",
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
        {"log.csv": table(
            "customer,product,date",
            [(f"c{u}", f"p{(u * 5 + m % 3) % 30}",
              moment(9 * m + u, "%Y-%m-%d"))
             for m in range(12) for u in range(9)],
        )},
        {"item_id": "product"},
        {"repeat_consumption": True},
        told=("return to an item on another day", "So users take things again"),
    ),
    "by_chance": Shape(
        {"log.csv": bought(
            "customer,product,date",
            lambda n, u, i: (u, i, moment(n)),
        )},
        {"item_id": "product"},
        {"repeat_consumption": False},
    ),
    "flags": Shape(
        {"log.csv": bought(
            "user_id,video_id,time_ms," + ",".join("abcdefghijkl"),
            lambda n, u, i: (u, i, 16 * 10**11 + 9 * 10**6 * n,
                             *[(n >> m) % 2 for m in range(12)]),
        )},
        {"user_id": "user_id", "item_id": "video_id", "timestamp": "time_ms"},
        counts=(45, 9, 8),
    ),
}  # fmt: skip
