"""Option dataclasses of the models: frozen, self-validating, no TensorFlow.

Each class checks itself when it is made and raises one `ConfigError` that
lists every broken rule; `pipeline.config` adds the file and section.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

FeatureKind = Literal["categorical", "multi_categorical", "numeric", "text"]


class ConfigError(ValueError):
    """Options that break a rule.

    Attributes:
        problems: One sentence each: the rule, what was received, what to do.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (
            [problems] if isinstance(problems, str) else list(problems)
        )
        super().__init__("\n".join(self.problems))


def check(*rules: tuple[bool, str]) -> None:
    """Raises one `ConfigError` with the message of every rule that is false.

    Raises:
        ConfigError: If any rule does not hold.
    """
    problems = [message for holds, message in rules if not holds]
    if problems:
        raise ConfigError(problems)


@dataclass(frozen=True)
class FeatureSpec:
    """One encoded feature column as a tower sees it.

    Attributes:
        name: Column name in the items, users or interactions table.
        kind: How the column is encoded.
        size: Indices in use, with 0 (padding) and 1 (out of vocabulary);
            0 for numeric features.
        width: Values a row at most; 1 unless multi_categorical or text.
        mean: Of the train part, numeric features only.
        std: Of the train part, numeric features only; never 0.
    """

    name: str
    kind: FeatureKind
    size: int = 0
    width: int = 1
    mean: float = 0.0
    std: float = 1.0
