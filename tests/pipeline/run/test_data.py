"""Options of the data: each rule with what was received."""

import pytest

from models.config import ConfigError
from pipeline.run.data import PrepareConfig, SyntheticSource, TabularSource


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validation_share": 0.6, "test_share": 0.4}, "together below 1"),
        ({"test_share": 0.0}, "must be above 0"),
        ({"min_user_interactions": 0}, "`min_user_interactions` must be at"),
        ({"period": "01.02.2020/"}, '"2020-01-31/2021-01-31" or'),
        ({"period": "2020-01-31"}, "ISO dates around a slash"),
        ({"engine": "sparc"}, "a master of Spark"),
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
        ({"path": ""}, "`path` must name the interactions"),
        ({"item_features": {"x": "number"}}, "`item_features.x` must be one"),
        ({"context_features": {"x": "text"}}, "'categorical', 'numeric'"),
        ({"delimiter": "||"}, "one character"),
        ({"table_ids": {"films": "id"}}, "must be of items or users"),
        ({"max_bad_share": 1.5}, "between 0 and 1"),
        ({"time_format": "weeks"}, "a form as for strptime"),
        ({"user_id": ""}, "must name columns"),
    ],
)
def test_source_options_are_checked(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        TabularSource(**({"path": "log.csv"} | options))  # type: ignore[arg-type]


def test_a_sample_has_room_for_what_its_users_take() -> None:
    with pytest.raises(ConfigError, match="twice `interactions_per_user`"):
        SyntheticSource(num_items=40)
