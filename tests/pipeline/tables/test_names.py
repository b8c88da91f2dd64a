"""Any column has a name that models, engines and disks can take."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tables import names


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("genres", "genres"),
        ("_private", "_private"),
        ("Product Category", "Product_Category"),
        ("product.kind", "product_kind"),
        ("brand/model", "brand_model"),
        ("größe", "gro_e"),
        ("2nd", "feature_2nd"),
        ("First_Seen", "First_Seen_"),
        ("weight", "weight"),
    ],
)
def test_a_column_as_people_have_it(column: str, name: str) -> None:
    assert names.of("item_features", column) == name


def test_each_table_has_names_of_its_own() -> None:
    assert names.of("context_features", "weight") == "weight_"
    assert names.of("user_features", "id") == "id_"


@given(st.sampled_from(get_args(names.Section)), st.text(min_size=1))
def test_every_name_is_an_identifier_and_stays_one(
    section: names.Section, column: str
) -> None:
    name = names.of(section, column)
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    assert names.of(section, name) == name
