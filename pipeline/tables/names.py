"""What features are called in tables, models and requests.

A column of somebody's file may bear any name. Inputs of a SavedModel, columns
of an engine and files on a disk may not.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, TypeAlias

Section: TypeAlias = Literal[
    "item_features", "user_features", "context_features"
]
# Columns that steps make beside the features, in lower case as engines take
# them; `id` of users would make an input `user_id`. Ids are refused elsewhere.
_COUNTED = "first_seen count_train count_validation count_test title_shown"
_OURS: dict[Section, list[str]] = {
    "item_features": f"{_COUNTED} listed item_id_right".split(),
    "user_features": f"{_COUNTED} id user_id_right".split(),
    "context_features": "user_row item_index timestamp rating weight "
    "event_weight part tie turn length from_end".split(),
}


def of(section: Section, column: str) -> str:
    """The feature of a column: ASCII letters, digits and "_", none of ours.

    `Product Category` is `Product_Category`, `größe` is `gro_e`; what steps
    have a column for, as `rating` of interactions, is `rating_`.
    """
    # Accents come apart from their letters and go.
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", column)
        if not unicodedata.combining(letter)
    )
    name = re.sub(r"[^A-Za-z0-9_]+", "_", plain)
    if name != column:
        name = name.strip("_")
    if not name:
        name = hashlib.sha256(column.encode()).hexdigest()[:8]
    if name[0].isdigit():
        name = f"feature_{name}"
    # Engines call the second of two columns so; the log drops such.
    is_right = section == "context_features" and name.endswith("_right")
    is_ours = name.lower() in _OURS[section] or is_right
    return f"{name}_" if is_ours else name


def kinds(section: Section, columns: Mapping[str, str]) -> dict[str, str]:
    """Kinds by feature, of kinds by column."""
    return {of(section, column): kind for column, kind in columns.items()}
