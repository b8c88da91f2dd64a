"""Any column has a name that models, engines and disks can take."""

import re

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
        ("id", "id_"),
    ],
)
def test_a_column_as_people_have_it(column: str, name: str) -> None:
    assert names.of(column) == name


@given(st.text(min_size=1))
def test_every_name_is_an_identifier_and_stays_one(column: str) -> None:
    name = names.of(column)
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    assert names.of(name) == name
