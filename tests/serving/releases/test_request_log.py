"""The share of requests that servers log, in the file that they follow."""

from pathlib import Path

import pytest

from serving.releases import pointer, request_log, versions
from serving.releases.phases import Phases

MODELS = {name: (f"/models/{name}", [3]) for name in ("retrieval", "ranking")}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "models.config"
    versions.write_models_config(path, MODELS, comment="releases: 3 1")
    return path


def share(path: Path) -> dict[str, float]:
    return {
        name: config.sampling_config.sampling_rate
        for name, config in versions.read_logging(path).items()
    }


def test_the_rest_of_the_file_stays(published: Path) -> None:
    before = published.read_text()
    request_log.switch(published, 0.05, published.parent / "log")
    assert share(published) == {"retrieval": 0.05, "ranking": 0.05}
    assert versions.read_models_config(published) == MODELS
    assert published.read_text().splitlines()[0] == "# releases: 3 1"
    request_log.switch(published, 0, published.parent / "log")
    assert published.read_text() == before


def test_what_servers_load_and_call_it_stays(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(
        'model_config_list { config { name: "m" base_path: "/m" '
        'model_platform: "tensorflow" version_labels { key: "stable" value: 2 '
        "} model_version_policy { latest { num_versions: 2 } } } }"
    )
    request_log.switch(path, 0.5, tmp_path / "log")
    assert share(path) == {"m": 0.5}
    assert "num_versions: 2" in path.read_text()
    assert versions.read_labels(path) == {"m": {"stable": 2}}


def test_a_release_keeps_it(published: Path) -> None:
    request_log.switch(published, 1.0, Path("/logs/requests"))
    versions.write_models_config(
        published, {"retrieval": ("/models/retrieval", [4]), "new": ("/n", [4])}
    )
    assert share(published) == {"retrieval": 1.0}
    (config,) = versions.read_logging(published).values()
    assert config.log_collector_config.type == "tfrecord"
    assert config.log_collector_config.filename_prefix == "/logs/requests"
    versions.write_models_config(published, MODELS, logging={})
    assert share(published) == {}


def test_unmodified_servers_are_not_told(published: Path) -> None:
    follower = pointer.Follower(
        published,
        published.parent / "pointers",
        {"stock": ("ranking",), "scann": ("retrieval",)},
        phases=Phases(30),
        stock=frozenset({"stock"}),
    )
    for name in MODELS:
        follower._foreign[name, 3] = ""
    follower.step(0)
    request_log.switch(published, 0.5, Path("/logs/requests"))
    assert follower.step(1) == ["scann"]
    assert share(follower.directory / "scann.config") == {"retrieval": 0.5}
    assert share(follower.directory / "stock.config") == {}
    assert follower.step(2) == []
    request_log.switch(published, 0, Path("/logs/requests"))
    assert follower.step(3) == ["scann"]
    assert share(follower.directory / "scann.config") == {}


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan"])
def test_a_share_is_between_0_and_1(
    published: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = published.read_text()
    arguments = [f"--share={value}", f"--models_config={published}"]
    assert request_log.main(arguments) == 2
    assert "must be between 0 and 1" in capsys.readouterr().err
    assert published.read_text() == before


def test_nothing_published_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "models.config"
    assert request_log.main(["--share=1", f"--models_config={path}"]) == 2
    assert "Publish a version first" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    ("given", "words"), [("0.001", "0.1% of"), ("0.015", "1.5% of")]
)
def test_a_small_share_is_told_as_it_is(
    published: Path, given: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [f"--share={given}", f"--models_config={published}"]
    assert request_log.main(named) == 0
    assert f"logged: {words} requests" in capsys.readouterr().out


def test_a_file_that_is_no_text(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published.write_bytes(b"\xff\xfe# releases")
    named = ["--share=1", f"--models_config={published}"]
    assert request_log.main(named) == 2
    assert "must be text in UTF-8" in capsys.readouterr().err
