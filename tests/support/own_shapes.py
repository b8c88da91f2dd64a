"""Logs as people brought them, which once were misread."""

from tests.support.data_cases import Shape, moment, objects, purchases, table

TWITTER = "%a %b %d %H:%M:%S +0000 %Y"
SHAPES: dict[str, Shape] = {
    "clicks": Shape(
        {
            "click.json": objects(
                purchases(
                    lambda n, u, i: {
                        "session": f"s{n}", "domain": f"{n % 4}.example",
                        "cost": 20 + n * 7 % 31, "user": u, "campaign": i,
                        "ip": f"ip{n % 10}",
                        "action": ("viewed", "clicked", "blocked")[n % 3],
                        "timestamp": 1_420_070_400_000 + 86_400_000 * n,
                    }
                )
            )
        },
        {"user_id": "user", "item_id": "campaign", "timestamp": "timestamp",
         "event_weights": {"viewed": 1.0, "clicked": 1.0}},
        told=("left out, as they take back or say no: blocked",),
    ),
    "mac_lines": Shape(
        {
            "log.csv": table(
                "user,item,rating,date",
                purchases(lambda n, u, i: (u, i, 1 + n % 5, moment(n))),
            ).replace(b"\n", b"\r")
        },
        {"user_id": "user", "item_id": "item", "rating": "rating"},
        counts=(45, 9, 8),
    ),
    "day_first": Shape(
        {
            "log.csv": table(
                "client;article;date;prix",
                [
                    (f"c{n % 9}", f"a{n % 8}",
                     f"{1 + n % 12:02d}/{1 + n // 12:02d}/2021", "10,99")
                    for n in range(48)
                ],
                ";",
            )
        },
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
        {
            "log.txt": table(
                "",
                purchases(
                    lambda n, u, i: (
                        470 + n % 9, f"4a{i}", f"c{i[-1]}", f"Shop {i}",
                        40.71 + n % 8, -74.0, -240, moment(n, TWITTER),
                    )
                ),
                "\t",
            )
        },
        {"columns": ("user_id", "item_id", "column_3", "title", "column_5",
                     "column_6", "column_7", "timestamp"),
         "time_format": "%a %b %d %H:%M:%S %z %Y"},
        counts=(45, 9, 8),
    ),
    "foursquare_named": Shape(
        {
            "log.csv": table(
                "userId,venueId,venueCategoryId,latitude,utcTimestamp",
                purchases(
                    lambda n, u, i: (u, i, f"c{n % 3}", 40.7 + n,
                                     moment(n, TWITTER))
                ),
            )
        },
        {"user_id": "userId", "item_id": "venueId",
         "timestamp": "utcTimestamp"},
    ),
    "anonymous": Shape(
        {
            "log.csv": table(
                "session_id;user_id;item_id;timeframe;eventdate",
                purchases(
                    lambda n, u, i: (
                        n // 3, f"5{n}" if n % 3 == 0 else "NA", i,
                        300_000 * n, moment(n, "%Y-%m-%d"),
                    )
                ),
                ";",
            )
        },
        {"user_id": "session_id", "item_id": "item_id"},
        told=("or: user_id (has another value in every row, is missing",),
    ),
    "returns": Shape(
        {
            "log.csv": table(
                "InvoiceNo,StockCode,Quantity,InvoiceDate,CustomerID,Country",
                purchases(
                    lambda n, u, i: (
                        f"{'C' if n % 9 == 8 else ''}53{n}", f"2001{i[1:]}",
                        -2 if n % 9 == 8 else 3 + n % 4,
                        moment(n, "%m/%d/%Y %H:%M"), f"1700{n % 7}", "UK",
                    )
                ),
            )
        },
        {"user_id": "CustomerID", "item_id": "StockCode",
         "quantity": "Quantity", "weight": "Quantity"},
        told=("5 interactions left out because `Quantity` is not above 0",),
        counts=(40, 7, 8),
    ),
    "basket": Shape(
        {
            "log.csv": table(
                "",
                [
                    (f"2016-10-{20 + n // 20}", f"1{n // 15}:{10 + n // 3}:00",
                     1 + n // 3, f"Cake {n * n * n % 29 % 6}")
                    for n in range(60)
                ],
            )
        },
        {"columns": ("timestamp", "time_of_day", "user_id", "item_id"),
         "time_of_day": "time_of_day"},
        counts=(60, 20, 6),
    ),
    "shopify": Shape(
        {
            "log.csv": table(
                "Name,Email,Financial Status,Paid at,Total,Created at,"
                "Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,"
                "Billing Name,Billing Phone",
                purchases(
                    lambda n, u, i: (
                        f"#10{n}", "", "refunded" if n % 9 == 4 else "paid",
                        "", "14.00", moment(n, "%Y-%m-%d %H:%M:%S +0500"), 1,
                        f"Lamp {i}", "14.00", "", f"Person {u}",
                        f"00{n % 9}1234",
                    )
                ),
            )
        },
        {"user_id": "Billing Phone", "item_id": "Lineitem name",
         "timestamp": "Created at", "event": "Financial Status",
         "event_weights": {"paid": 1.0}},
        told=("5 interactions of the type 'refunded' left out",),
    ),
    "sorted": Shape(
        {
            "log.dat": table(
                "userID\tartistID\tweight",
                [(n, m, 10 + 317 * m % 4000)
                 for n in range(2, 12) for m in range(50 + n % 4, 90, 4)],
                "\t",
            )
        },
        {"user_id": "userID", "item_id": "artistID", "timestamp": ""},
        {"split": "random"},
        told=("one is the highest id, not the latest",),
    ),
    "h_and_m": Shape(
        {
            "log.csv": table(
                "t_dat,customer_id,article_id,price,sales_channel_id",
                purchases(
                    lambda n, u, i: (moment(n, "%Y-%m-%d"), f"00{u}",
                                     f"01087750{i[1:]}", 0.005, 1 + n % 2)
                ),
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
        {
            "review.json": objects(
                purchases(
                    lambda n, u, i: {
                        "review_id": f"r{n}", "user_id": u, "business_id": i,
                        "stars": 1.0 + n % 5, "useful": n % 2,
                        "text": f"Made up review {n}, nice.",
                        "date": moment(n),
                    }
                )
            )
        },
        {"user_id": "user_id", "item_id": "business_id", "rating": "stars"},
    ),
    "missing_numbers": Shape(
        {
            "log.csv": table(
                "user,item,date",
                purchases(lambda n, u, i: (u, i, moment(n))),
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
        {
            "rating.csv": table(
                "user_id,anime_id,rating",
                purchases(lambda n, u, i: (u, i, 5 + n % 5 if n % 3 else -1)),
            )
        },
        {"item_id": "anime_id", "rating": "rating"},
        {"min_rating": 5.0},
        told=("33% of the ratings are -1, taken for not rated",),
    ),
}  # fmt: skip
