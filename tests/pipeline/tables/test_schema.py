from pipeline.tables.schema import epoch_seconds, iso


def test_dates_are_utc_unless_they_say_otherwise() -> None:
    assert epoch_seconds("1970-01-02") == 86_400
    assert epoch_seconds("1970-01-01T01:00:00+01:00") == 0
    assert epoch_seconds("1970-01-01T00:00:09Z") == 9
    assert epoch_seconds("soon") is None
    assert iso(881_250_949) == "1997-12-04 15:55:49"
    assert iso(17) == "position 17"
