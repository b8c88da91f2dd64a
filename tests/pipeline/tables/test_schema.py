import pytest

from models.config import ConfigError
from pipeline.tables.schema import (
    PrepareConfig,
    SourceConfig,
    epoch_seconds,
    iso,
)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validation_share": 0.6, "test_share": 0.4}, "together below 1"),
        ({"test_share": 0.0}, "must be above 0"),
        ({"min_user_interactions": 0}, "`min_user_interactions` must be at"),
        ({"row_group_size": 0}, "`row_group_size` must be at least 1"),
        ({"start_date": "01.02.2020"}, "ISO date such as 2020-01-31"),
        ({"user_share": 0.0}, "`user_share` must be above 0"),
        ({"num_threads": -1}, "`num_threads` must not be negative"),
    ],
)
def test_prepare_options_are_checked(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        PrepareConfig(**options)  # type: ignore[arg-type]
    assert "Received:" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "tabular"}, "`path` must name the interactions"),
        ({"item_features": {"x": "number"}}, "`item_features.x` must be one"),
        ({"context_features": {"x": "text"}}, "'categorical', 'numeric'"),
        ({"delimiter": "||"}, "one character"),
        ({"max_bad_share": 1.5}, "between 0 and 1"),
        ({"num_items": 40}, "at least twice `interactions_per_user`"),
        ({"order_strength": -1.0}, "`order_strength` must be between"),
        ({"user_id": ""}, "must name columns"),
    ],
)
def test_source_options_are_checked(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        SourceConfig(**options)  # type: ignore[arg-type]


def test_dates_are_utc_unless_they_say_otherwise() -> None:
    assert epoch_seconds("1970-01-02") == 86_400
    assert epoch_seconds("1970-01-01T01:00:00+01:00") == 0
    assert epoch_seconds("1970-01-01T00:00:09Z") == 9
    assert epoch_seconds("soon") is None
    assert iso(881_250_949) == "1997-12-04 15:55:49"
    assert iso(17) == "position 17"
