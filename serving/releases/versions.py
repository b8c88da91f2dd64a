"""Version directories and the file that says which of them to serve.

`<base path>/<version>/` holds one SavedModel; a version is there the moment
its directory has its name, so it is written under another one and renamed.
The models' configuration is the text of a `ModelServerConfig`, read by
TensorFlow Serving and the embedded server alike and replaced by rename.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving import signatures
from serving.errors import ServingError
from serving.releases import config_text, files
from serving.wire import models_config_pb2

PLATFORM = "tensorflow"
# What is logged of each model's requests.
Logging = Mapping[str, models_config_pb2.LoggingConfig]
_NAMED_BY = "the release"
# What a version of ours says of itself.
MANIFEST = Path(signatures.EXTRA_ASSETS, "manifest.json")

# What absl::SimpleAtoi takes: blanks around, a sign, ASCII digits, 64 bits.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*")
_LIMIT = 1 << 63


def parse_version(name: str) -> int | None:
    """The number that a directory's name stands for, None when it is none.

    Several names can stand for one number: "7", "007" and "+7".
    """
    found = _NUMBER.fullmatch(name)
    # int() refuses very long texts, leading zeros included.
    if found is None or len(found[1].lstrip("+-0")) > 19:
        return None
    sign = -1 if found[1].startswith("-") else 1
    number = sign * int(found[1].lstrip("+-0") or "0")
    return number if -_LIMIT <= number < _LIMIT else None


def find_versions(base: Path) -> dict[int, Path]:
    """Versions below a model's base path, ascending, and where they are.

    Of several names for one number the one that sorts last counts, as in
    TensorFlow Serving. A plain file with a number for a name counts too.

    Raises:
        OSError: If `base` cannot be listed.
    """
    found = {}
    for name in sorted(os.listdir(base)):
        number = parse_version(name)
        if number is not None:
            found[number] = base / name
    return dict(sorted(found.items()))


def list_versions(base: Path) -> list[int]:
    """Versions below a model's base path, ascending; none when it is absent."""
    try:
        return list(find_versions(base))
    except FileNotFoundError:
        return []


def write_models_config(
    path: Path,
    models: Mapping[str, tuple[str, Sequence[int]]],
    comment: str = "",
    labels: Mapping[str, Mapping[str, int]] | None = None,
    logging: Logging | None = None,
) -> None:
    """Replaces a models configuration, complete or not at all.

    Args:
        path: The file that servers poll.
        models: By name, the absolute base path and the versions to serve.
        comment: Lines that are put first, behind a "#".
        labels: By name, versions by label.
        logging: By name; None keeps what the file says, so that a release
            does not end what an operator began.
    """
    if logging is None:
        logging = {}
        with contextlib.suppress(FileNotFoundError, ServingError):
            logging = read_logging(path)
    config = models_config_pb2.ModelServerConfig()
    for name, (base_path, numbers) in models.items():
        entry = config.model_config_list.config.add(
            name=name, base_path=base_path, model_platform=PLATFORM
        )
        entry.model_version_policy.specific.versions.extend(numbers)
        entry.version_labels.update((labels or {}).get(name, {}))
        if name in logging:
            entry.logging_config.CopyFrom(logging[name])
    lines = [
        line if line.startswith("#") else f"# {line}"
        for line in comment.splitlines()
    ]
    text = "".join(f"{line}\n" for line in lines)
    text += text_format.MessageToString(config, as_utf8=True)
    with files.staged(path) as staged:
        staged.write_text(text, encoding="utf-8")


def text_of(path: Path) -> str:
    """What a configuration holds, for who reads several things out of it.

    Raises:
        OSError: If the file cannot be read.
        ServingError: If it is no text.
    """
    return config_text.text_of(path, _NAMED_BY)


def read_models_config(
    path: Path, text: str | None = None
) -> dict[str, tuple[str, list[int]]]:
    """Reads base path and versions of every model of a configuration.

    The versions are those of a `specific` policy; under another policy the
    list is empty, for the directories decide.

    Args:
        path: Of the file.
        text: What it holds, where the caller has read it.
    """
    return {
        entry.name: (
            entry.base_path,
            list(entry.model_version_policy.specific.versions),
        )
        for entry in _entries(path, text)
    }


def read_labels(
    path: Path, text: str | None = None
) -> dict[str, dict[str, int]]:
    """The versions by label of every model of a configuration.

    Args:
        path: Of the file.
        text: What it holds, where the caller has read it.
    """
    return {
        entry.name: dict(entry.version_labels) for entry in _entries(path, text)
    }


def read_logging(path: Path, text: str | None = None) -> Logging:
    """What a configuration says of request logs, models without them left out.

    Args:
        path: Of the file.
        text: What it holds, where the caller has read it.

    Raises:
        OSError: If the file cannot be read.
        ServingError: If it is no configuration.
    """
    return {
        entry.name: entry.logging_config
        for entry in _entries(path, text)
        if entry.HasField("logging_config")
    }


def _entries(
    path: Path, text: str | None = None
) -> Iterable[models_config_pb2.ModelConfig]:
    config = config_text.parse(
        path,
        models_config_pb2.ModelServerConfig(),
        _NAMED_BY,
        lenient=True,
        text=text,
    )
    return config.model_config_list.config


def bundle_id_of(path: Path) -> str:
    """Which release a version directory is part of, "" if it names none.

    Publishing writes the release's id into the manifest of each of its models:
    callers combine their answers.
    """
    return str(_manifest(path).get("bundle_id", ""))


def whole_of(model: str, path: Path) -> Path | None:
    """Where a version of a model is held, beside it, with all of its release.

    Args:
        model: Its name.
        path: Its version directory.

    Returns:
        A version directory of `RECOMMENDER`; None without one that holds it.
    """
    whole = path.parent.parent / signatures.RECOMMENDER / path.name
    manifest = _manifest(whole)
    is_held = model in manifest.get(signatures.HOLDS, ())
    if is_held and manifest.get("bundle_id") == bundle_id_of(path):
        return whole
    return None


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        # Not one of our exports.
        return {}
    return found if isinstance(found, dict) else {}
