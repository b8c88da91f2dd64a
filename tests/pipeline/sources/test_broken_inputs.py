"""A folder of broken inputs: each is refused in words that help.

Every message says the rule, what was received, where, and what to do.
"""

import gzip
import io
import re
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.config import ConfigError
from pipeline.onboard import check
from pipeline.run import config as configuration
from pipeline.tables.schema import DataError

HEAD = "user_id,item_id,timestamp,rating"
GOOD = [f"u{n % 9},i{n % 7},{1_600_000_000 + 86_400 * n},4" for n in range(60)]
SOURCE = 'kind = "tabular"\npath = "log.csv"\n'
FULL = SOURCE + 'rating = "rating"\n'


def toml(source: str = SOURCE, more: str = "", top: str = "") -> bytes:
    start = top or 'name = "broken"\nseed = 1\n'
    return f"{start}[source]\n{source}{more}".encode()


def log(*lines: str, head: str = HEAD) -> bytes:
    return "\n".join((head, *lines)).encode() + b"\n"


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"user_id": ["a"], "item_id": ["b"]}), out)
    return out.getvalue()


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("_csv", ".csv"), content)
    return out.getvalue()


# What begins compressed data of no kind that there is.
NO_BLOCK = 0b111


def damaged(content: bytes, at: int, value: int = NO_BLOCK) -> bytes:
    return content[:at] + bytes([value]) + content[at + 1 :]


def packed(content: bytes, name: str = "log.csv") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return out.getvalue()


def in_directory(content: bytes, offset: int, value: int) -> bytes:
    """A zip archive with another byte in its entry of the only member."""
    return damaged(content, content.index(b"PK\x01\x02") + offset, value)


def one_bad(line: str) -> dict[str, bytes]:
    return {"broken.toml": toml(FULL), "log.csv": log(*GOOD, line)}


def other(path: str, content: bytes, **more: bytes) -> dict[str, bytes]:
    source = SOURCE.replace("log.csv", path)
    files = {"broken.toml": toml(source), path: content}
    return files | {k.replace("_csv", ".csv"): v for k, v in more.items()}


def config(text: bytes) -> dict[str, bytes]:
    return {"broken.toml": text, "log.csv": log(*GOOD)}


FULL_LOG = log(*GOOD)
# What is broken; the files; where the message must point; what it must advise.
CASES: dict[str, tuple[dict[str, bytes], str, str]] = {
    "no_config": ({}, "broken.toml", "configs has examples"),
    "not_toml": (config(b"name = \n"), "broken.toml", "line 1"),
    "unknown_key": (
        config(toml(SOURCE + 'raitng = "x"\n')),
        r"\[source\] in broken.toml",
        "nearest is `rating`",
    ),
    "unknown_section": (
        config(toml(more="[retrieva]\nepochs = 1\n")),
        "from broken.toml",
        "nearest is `retrieval`",
    ),
    "wrong_type": (
        config(toml(top='name = "x"\nseed = "one"\n')),
        "from broken.toml",
        "whole number",
    ),
    "name_missing": (
        config(toml(top="seed = 1\n")),
        "from broken.toml",
        "`name` is required",
    ),
    "wrong_choice": (
        config(toml(more='[prepare]\nsplit = "by_time"\n')),
        r"\[prepare\] in broken.toml",
        "'temporal'",
    ),
    "shares_above_one": (
        config(
            toml(more="[prepare]\nvalidation_share = 0.6\ntest_share = 0.6\n")
        ),
        r"\[prepare\] in broken.toml",
        "together below 1",
    ),
    "event_without_weights": (
        config(toml(SOURCE + 'event = "kind"\n')),
        r"\[source\] in broken.toml",
        "go together",
    ),
    "memory_without_unit": (
        config(toml(more='[prepare]\nmemory_limit = "much"\n')),
        r"\[prepare\]",
        "such as '2GB'",
    ),
    "log_missing": ({"broken.toml": toml()}, "source.path", "Correct the path"),
    "log_empty": (other("log.csv", b""), "log.csv", "Check the export"),
    "header_alone": (other("log.csv", log()), "log.csv", "Check the file"),
    "binary": (
        other("log.csv", b"\0\1\2" * 99),
        "log.csv",
        "Convert it to UTF-8",
    ),
    "utf_16": (
        other("log.csv", FULL_LOG.decode().encode("utf-16-le")),
        "log.csv",
        "Convert it to UTF-8",
    ),
    "encoding_of_wide_letters": (
        config(toml(SOURCE + 'encoding = "utf-16"\n')),
        r"\[source\]",
        "remove source.encoding",
    ),
    "workbook": (
        other("log.xlsx", b"PK\3\4\0\0x\n1,2\n"),
        "log.xlsx",
        "it is binary",
    ),
    "column_missing": (
        other("log.csv", log("a,b,1", head="user,item_id,timestamp")),
        "log.csv has",
        "Correct source.user_id",
    ),
    "wrong_delimiter": (
        other("log.csv", FULL_LOG)
        | {"broken.toml": toml(SOURCE + 'delimiter = ";"\n')},
        "log.csv has",
        "Correct source.user_id",
    ),
    "columns_repeated": (
        other("log.csv", log("a,b,1", head="user_id,item_id,item_id")),
        r"item_id_1.*item_id_2",
        "Correct source.item_id",
    ),
    "quote_left_open": (
        one_bad('u1,"i1,1600000000,4'),
        "log.csv line 62",
        "max_bad_share",
    ),
    "field_too_many": (
        one_bad("u1,i1,1600000000,4,5"),
        "log.csv line 62",
        "max_bad_share",
    ),
    "id_missing": (one_bad(",i1,1600000000,4"), "line 62", "max_bad_share"),
    "time_in_words": (one_bad("u1,i1,monday,4"), "line 62", "max_bad_share"),
    "time_negative": (one_bad("u1,i1,-5,4"), "line 62", "max_bad_share"),
    "time_to_come": (
        one_bad("u1,i1,9000000000,4"),
        "line 62",
        "max_bad_share",
    ),
    "rating_in_words": (
        one_bad("u1,i1,1600000000,good"),
        "line 62",
        "max_bad_share",
    ),
    "mixed_encodings": (
        {
            "broken.toml": toml(FULL),
            "log.csv": FULL_LOG + "u1,caf\xe9,1600000000,4\n".encode("latin-1"),
        },
        "log.csv line 62",
        "max_bad_share",
    ),
    "json_broken": (
        other(
            "log.jsonl",
            b'{"user_id": 1, "item_id": 2, "timestamp": 3}\n{"user_id": 1,\n',
        ),
        "log.jsonl line 2",
        "max_bad_share",
    ),
    "gzip_cut_off": (
        other("log.csv.gz", gzip.compress(FULL_LOG)[:-40]),
        "log.csv.gz",
        "fetch it again",
    ),
    "zip_cut_off": (
        other("log.zip", archive(interactions_csv=FULL_LOG)[:-30]),
        "log.zip",
        "fetch it again",
    ),
    "gzip_damaged": (
        other("log.csv.gz", damaged(gzip.compress(FULL_LOG, mtime=0), 10)),
        "log.csv.gz",
        "fetch it again",
    ),
    "zip_member_damaged": (
        other("log.zip", damaged(packed(FULL_LOG), 37)),
        "log.zip/log.csv",
        "fetch it again",
    ),
    "parquet_in_zip_damaged": (
        other("log.zip", damaged(packed(parquet(), "log.parquet"), 41)),
        "log.zip/log.parquet",
        "fetch it again",
    ),
    "zip_encrypted": (
        other("log.zip", in_directory(packed(FULL_LOG), 8, 1)),
        "log.zip/log.csv.*encrypted",
        "Unpack it",
    ),
    "zip_of_another_method": (
        other("log.zip", in_directory(packed(FULL_LOG), 10, 9)),
        "log.zip/log.csv.*not supported",
        "Unpack it",
    ),
    "json_array": (
        other("log.json", b'[\n{"user_id": 1, "item_id": 2}]\n'),
        "log.json",
        "Convert it",
    ),
    "lists_of_different_lengths": (
        other(
            "log.jsonl",
            b'{"user_id": 1, "item_id": [2, 3], "timestamp": [5]}\n',
        ),
        "log.jsonl",
        "Correct the export",
    ),
    "names_for_names": (
        other("log.parquet", parquet())
        | {
            "broken.toml": toml(
                SOURCE.replace(".csv", ".parquet")
                + 'columns = ["user_id", "item_id"]\n'
            )
        },
        "log.parquet",
        "Remove source.columns",
    ),
    "zip_of_other_tables": (
        other("log.zip", archive(items_csv=FULL_LOG, users_csv=FULL_LOG)),
        "log.zip",
        "Name the file so",
    ),
    "parquet_cut_off": (
        other("log.parquet", parquet()[:-20]),
        "log.parquet",
        "fetch it again",
    ),
    "csv_named_parquet": (
        other("log.parquet", FULL_LOG),
        "log.parquet",
        "give it another name",
    ),
    "features_without_table": (
        config(toml(more='[source.item_features]\ncolour = "categorical"\n')),
        r"\[source\]",
        "Set source.items_path",
    ),
    "items_without_id": (
        other(
            "log.csv",
            FULL_LOG,
            items_csv=b"sku,colour\ni1,red\n",
        )
        | {"broken.toml": toml(SOURCE + 'items_path = "items.csv"\n')},
        "items.csv has",
        "Correct source.",
    ),
    "nothing_left": (
        config(toml(FULL, "[prepare]\nmin_rating = 9.0\n")),
        r"\[prepare\]",
        "Loosen min_rating",
    ),
    "one_moment": (
        other("log.csv", log(*(f"u{n},i{n},1600000000,4" for n in range(30)))),
        r"\[prepare\]",
        "leave_last_out",
    ),
    "movielens_of_another_layout": (
        {
            "broken.toml": toml('kind = "movielens"\npath = "."\n'),
            "films.csv": b"a,b\n1,2\n",
        },
        "source.path",
        "'tabular'",
    ),
}


def refused(name: str, folder: Path) -> str:
    for path, content in CASES[name][0].items():
        (folder / path).write_bytes(content)
    with pytest.raises((ConfigError, DataError)) as caught:
        check.check(configuration.load("broken.toml"))
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_broken_inputs_are_refused_in_words_that_help(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(name, tmp_path)
    _files, where, advice = CASES[name]
    assert re.search(where, message), message
    assert re.search(advice, message), message
    # Missing keys have nothing to show.
    assert (
        "Received" in message or "required" in message or ("nearest" in message)
    ), message
    # A sentence, no trace and no bare exception of a library.
    assert "Traceback" not in message
    assert message.rstrip().endswith((".", ")")), message


def test_the_same_files_unbroken_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, content in config(toml(FULL)).items():
        (tmp_path / path).write_bytes(content)
    lines: list[str] = check.check(configuration.load("broken.toml"))
    assert "60 interactions of 9 users with 7 items" in "\n".join(lines)


def test_thirty_inputs_are_broken_in_different_ways() -> None:
    assert len({str(files) for files, _where, _advice in CASES.values()}) >= 30
