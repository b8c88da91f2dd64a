"""Config files: every problem at once, each with the next action."""

from pathlib import Path

import pytest

from models.config import ConfigError
from pipeline.run import config as configuration
from pipeline.run.data import MovielensSource, TabularSource

CONFIGS = Path(configuration.__file__).parents[1] / "configs"
MINIMAL = 'name = "tiny"\nseed = 1\n'


def _load(tmp_path: Path, text: str, *overrides: str) -> configuration.Config:
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    return configuration.load(path, overrides)


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem
)
def test_shipped_configs_load(path: Path) -> None:
    assert configuration.load(path).name


def test_three_mistakes_are_reported_together(tmp_path: Path) -> None:
    text = (
        'name = "a/b"\nseed = 1\n'
        "[index]\nnum_candidate = 5\n"
        '[evaluate]\npart = "tset"\n'
    )
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    problems = caught.value.problems
    assert len(problems) == 3
    text = "\n".join(problems)
    assert "names a directory. Received: 'a/b'" in text
    assert "`num_candidate` is not a known key" in text
    assert "nearest is `num_candidates`" in text
    assert "one of 'validation', 'test'. Received: 'tset'" in text
    assert "[index] in" in text and "tiny.toml" in text


def test_rules_of_sections_carry_file_and_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, MINIMAL + "[index]\nnum_candidates = 0\n")
    (problem,) = caught.value.problems
    assert problem.startswith("`num_candidates` must be at least 1. Received")
    assert "(from [index] in" in problem


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed = 1.5", "must be a whole number. Received: 1.5"),
        ("seed = true", "must be a whole number. Received: True"),
        ('seed = "1"', "must be a whole number. Received: '1'"),
        ("seed = -1", "`seed` must not be negative. Received: -1"),
    ],
)
def test_wrong_types_are_refused(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        _load(tmp_path, f'name = "tiny"\n{line}\n')


def test_a_required_key_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`seed` is required"):
        _load(tmp_path, 'name = "tiny"\n')


def test_overrides_win_and_may_leave_quotes_out(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        MINIMAL + "[index]\nnum_candidates = 5\n",
        "index.num_candidates=7",
        "evaluate.part=validation",
        "retrieval.refit=false",
        "publish.must_beat=['random']",
    )
    assert config.index.num_candidates == 7
    assert config.evaluate.part == "validation"
    assert config.publish.must_beat == ("random",)


def test_an_override_without_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must read `section.key=value`"):
        _load(tmp_path, MINIMAL, "index.num_candidates")


def test_data_dir_is_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    config = _load(tmp_path, MINIMAL, "artifacts=${DATA_DIR}/out")
    assert config.artifacts == "/somewhere/out"


def test_a_missing_file_and_broken_toml_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must exist and be readable"):
        configuration.load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="must be TOML"):
        _load(tmp_path, "name = ")


def test_a_refitted_model_is_not_evaluated_on_what_it_was_fitted_on(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="has seen its answers"):
        _load(tmp_path, MINIMAL + '[evaluate]\npart = "validation"\n')


def test_what_is_no_option_any_more_says_so(tmp_path: Path) -> None:
    # The value it has now changes nothing and is let through.
    assert _load(tmp_path, MINIMAL + "[retrieval]\nnum_layers = 2\n")
    with pytest.raises(ConfigError, match="any more and always 2. Received: 3"):
        _load(tmp_path, MINIMAL + "[retrieval]\nnum_layers = 3\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("retrieval.batch_positions=0", 'at least 1 or "auto". Received: 0'),
        ("retrieval.max_id_rows=0", 'at least 16 or "all". Received: 0'),
        ("evaluate.num_users=0", 'at least 1 or "all". Received: 0'),
        ("evaluate.num_users=many", "a whole number or one of 'all'"),
        ("student.max_histories=0", 'at least 1 or "all". Received: 0'),
        ("publish.keep_versions=0", 'at least 2 or "all", so'),
    ],
)
def test_zero_is_zero_and_words_are_words(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _load(tmp_path, MINIMAL, line)
    key = line.partition("=")[0]
    words = {"retrieval.batch_positions": "auto", "publish.stage": "true"}
    word = words.get(key, "all")
    assert _load(tmp_path, MINIMAL, f"{key}={word}")


def test_a_kind_of_source_ignores_the_options_of_others(tmp_path: Path) -> None:
    text = MINIMAL + '[source]\nkind = "movielens"\ntitle = "x"\n'
    assert _load(tmp_path, text).source == MovielensSource()
    with pytest.raises(ConfigError, match="`title` must be text"):
        _load(tmp_path, text, "source.title=3")


def test_options_of_a_source_keep_their_former_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", "/data")
    text = MINIMAL + '[source]\nkind = "movielens"\nrelease = "1m"\n'
    source = _load(tmp_path, text).source
    assert source == MovielensSource(path="/data/ml-1m.zip")
    text = MINIMAL + '[source]\nkind = "tabular"\npath = "a"\ntime_unit = "ms"'
    source = _load(tmp_path, text).source
    assert source == TabularSource(path="a", time_format="ms")


@pytest.mark.parametrize(
    ("once", "now"),
    [
        ("retrieval.history_id=true", "retrieval.ids=['item','history']"),
        ("retrieval.item_id=false", "retrieval.ids=[]"),
        ("prepare.start_date=2020-01-31", "prepare.period=2020-01-31/"),
        ("publish.student_must_beat=['popularity']", "publish.metric=ndcg@10"),
        ("source.format=auto", "source.kind=tabular"),
        ("source.format=tsv", 'source.delimiter="\\t"'),
        ("source.users_id=id", "source.table_ids={users='id'}"),
        (
            "source.items_columns=['a','b']",
            "source.table_columns={items=['a','b']}",
        ),
        (
            "prepare.spark_master=spark://a:1 prepare.engine=spark",
            "prepare.engine=spark://a:1",
        ),
        (
            "retrieval.num_mined_negatives=512 retrieval.loss=in_batch",
            "retrieval.loss=mined",
        ),
        ("index.reordering=int8 index.kind=scann", "index.kind=scann_int8"),
    ],
)
def test_former_options_are_read_as_what_they_are_now(
    tmp_path: Path, once: str, now: str
) -> None:
    text = MINIMAL + '[source]\nkind = "tabular"\npath = "a"\n'
    assert _load(tmp_path, text, *once.split()) == _load(tmp_path, text, now)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("num_mined_negatives = 64", 'loss = "mined" is in_batch with 512'),
        ("history_id = 1", "`history_id` is not a known key"),
    ],
)
def test_a_former_option_that_nothing_stands_for_says_so(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _load(tmp_path, f"{MINIMAL}[retrieval]\n{line}\n")


def test_the_student_is_held_to_the_first_row(tmp_path: Path) -> None:
    text = MINIMAL + "[publish]\nmust_beat = []\nstudent_must_beat = []\n"
    assert _load(tmp_path, text).publish.must_beat == ()
    with pytest.raises(ConfigError, match=r"first row of `must_beat`, here \["):
        _load(tmp_path, text, "publish.student_must_beat=['random']")


def test_a_version_waits_or_is_tried_on_a_percentage(tmp_path: Path) -> None:
    for text, percent in (("false", 0), ("true", 0), ("1", 1), ("100", 100)):
        found = _load(tmp_path, MINIMAL, f"publish.stage={text}").publish
        assert found.trial_percent == percent
        assert bool(found.stage) == (text != "false")
    for text in ("0", "101", "-5"):
        with pytest.raises(ConfigError, match=f"1 to 100. Received: {text}"):
            _load(tmp_path, MINIMAL, f"publish.stage={text}")
