"""Two sides asked the logged requests: planted differences are found."""

import json
from collections.abc import Callable
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from pipeline.feedback import log as logs
from pipeline.feedback import replay as replays
from pipeline.feedback import rules, sides, step
from pipeline.feedback.log import Log
from pipeline.feedback.sides import Side
from pipeline.release import publish
from pipeline.release.gate import GateRejected
from pipeline.run import rules as decisions
from pipeline.run.config import Config
from pipeline.run.data import SyntheticSource
from pipeline.run.rules import Rule
from pipeline.tables.schema import DataError
from serving.errors import ServingError
from serving.prediction_log.user_ids import UserIds
from tests.support import evaluations, published
from tests.support.request_logs import logged, response, warm_up, write

ITEMS = "abcdefghijklmnopqrst"
Request = predict_pb2.PredictRequest


def listing(items: str) -> Callable[[Request], predict_pb2.PredictResponse]:
    return lambda request: response([list(items)])


def fails_for(user: str, items: str = ITEMS) -> Callable[[Request], object]:
    def ask(request: Request) -> object:
        if logs.user_ids(request) == [user]:
            raise ServingError("no such input", "INVALID_ARGUMENT")
        return response([list(items)])

    return ask


@pytest.fixture
def log(tmp_path: Path) -> Log:
    answer = response([list(ITEMS)])
    found = [logged(f"u{number}", answer) for number in range(20)]
    write(tmp_path / "log" / "a.tfrecord", found)
    return Log(str(tmp_path / "log"))


def test_a_planted_difference_is_what_is_told(log: Log) -> None:
    # Three of the first ten are others, and those in common are in order.
    live, new = Side("old", listing(ITEMS)), Side("new", listing("xyz" + ITEMS))
    found = replays.run(log, live, new, 100)
    figures = found.models["recommender"]
    assert (found.records, found.requests, figures.lists) == (20, 20, 20)
    assert figures.overlap_at_10 == figures.overlap_at_10_low == 0.7
    assert figures.spearman == figures.kendall == 1.0
    assert figures.score_shift == -3.0
    assert figures.shown_overlap_live == 1.0
    assert figures.shown_overlap_new == 0.7
    assert found.errors == {"live": {}, "new": {}}
    assert not decisions.broken(rules.judge(found))
    assert json.dumps(found.plain(), allow_nan=False)


def test_what_the_new_one_alone_fails_breaks_the_rule(log: Log) -> None:
    live = Side("version 1", fails_for("u1"))
    new = Side("version 2", fails_for("u2"))
    found = replays.run(log, live, new, 100)
    assert found.errors == {
        "live": {"INVALID_ARGUMENT": 1},
        "new": {"INVALID_ARGUMENT": 1},
    }
    assert found.failed_alone == 1
    (words,) = decisions.broken(rules.judge(found))
    assert "version 1 answers: 1 of 20 fail. no such input" in words
    assert any("only the new one" in one for one in replays.lines(found, log))


def test_a_list_that_is_emptied_breaks_the_rule(log: Log) -> None:
    def empty(request: Request) -> predict_pb2.PredictResponse:
        return response([["", ""]])

    found = replays.run(log, Side("a", listing(ITEMS)), Side("b", empty), 100)
    (words,) = decisions.broken(rules.judge(found))
    assert "20 lists have no item" in words
    other = replays.run(log, Side("b", empty), Side("a", listing(ITEMS)), 100)
    assert not decisions.broken(rules.judge(other))


def test_versions_and_labels_of_the_log_are_not_asked_for(
    tmp_path: Path,
) -> None:
    record = logged("u", response([["a"]]), label="canary")
    record.predict_log.request.model_spec.signature_name = "with_diversity"
    write(tmp_path / "a.tfrecord", [record])
    asked = []

    def ask(request: Request) -> predict_pb2.PredictResponse:
        asked.append(request.model_spec)
        return response([["a"]])

    replays.run(Log(str(tmp_path)), Side("a", ask), Side("b", ask), 5)
    assert {one.WhichOneof("version_choice") for one in asked} == {None}
    assert {one.signature_name for one in asked} == {"with_diversity"}


def test_a_long_log_is_drawn_from_evenly(tmp_path: Path) -> None:
    answer = response([["a"]])
    users = UserIds(b"0123456789abcdef")
    made = [logged(f"u{n:03}", answer) for n in range(400)]
    made += [
        logged(users.hidden("x"), answer),
        logged("y", answer, model="z"),
    ]
    write(tmp_path / "a.tfrecord", made)
    asked: list[str] = []

    def ask(request: Request) -> predict_pb2.PredictResponse:
        asked.extend(logs.user_ids(request))
        return response([["a"]])

    side = Side("a", ask)
    found = replays.run(Log(str(tmp_path)), side, side, 100)
    assert (found.records, found.requests) == (402, 100)
    late = [user for user in set(asked) if user >= "u200"]
    assert 30 < len(late) < 70
    assert found.passed_over == {"model z": 1}
    again = replays.run(Log(str(tmp_path)), side, side, 401)
    assert again.hidden_users == 1


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], "Received: 0 records.*The files are empty"),
        ([logged("u", response([["a"]]), model="half")], "1 of model half"),
    ],
)
def test_a_log_of_no_use_is_told(
    tmp_path: Path, made: list, words: str
) -> None:
    write(tmp_path / "a.tfrecord", made)
    side = Side("a", listing(ITEMS))
    with pytest.raises(DataError, match=words):
        replays.run(Log(str(tmp_path)), side, side, 5)


def test_nobody_answers(log: Log) -> None:
    def ask(request: Request) -> predict_pb2.PredictResponse:
        raise ServingError("gone", "UNAVAILABLE")

    with pytest.raises(DataError, match="somebody answers.*20.*gone"):
        replays.run(log, Side("a", ask), Side("b", ask), 100)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run of which version 1 is live."""
    artifacts = tmp_path_factory.mktemp("published")
    published.unpack(artifacts)
    return Config(
        name="tiny", seed=1, artifacts=str(artifacts), source=SyntheticSource()
    )


@pytest.fixture(scope="module")
def released(config: Config) -> Side:
    return sides.find(config, "", "LIVE")


@pytest.fixture(scope="module")
def asked(config: Config, released: Side) -> Log:
    """What version 1 answered to its warm-up requests."""
    model = config.serving_directory / "recommender" / "1"
    found = warm_up(model)
    for record in found:
        answer = released.ask(record.predict_log.request)
        record.predict_log.response.CopyFrom(answer)
    return Log(str(write(config.run_directory / "log.tfrecord", found)))


def test_a_version_that_is_asked_again_answers_the_same(
    config: Config,
    released: Side,
    asked: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Loaded once.
    monkeypatch.setattr(sides, "find", lambda *_: released)
    found, judged = step.replay(config, asked, new="1")
    assert found.live == found.new == "version 1"
    figures = found.models["recommender"]
    assert figures.lists > 0
    assert figures.overlap_at_10 == figures.shown_overlap_live == 1.0
    assert figures.score_shift == figures.score_ks == 0.0
    assert found.speed["live"].p50_ms > 0
    written = json.loads((config.run_directory / "replay.json").read_text())
    assert written["models"]["recommender"]["overlap_at_10"] == 1.0
    assert {one["outcome"] for one in written["rules"]} == {
        "holds",
        "not judged",
    }
    page = (config.run_directory / "replay.md").read_text()
    assert "| overlap@10 | 1.000 |" in page
    assert not decisions.broken(judged)


def test_a_model_with_other_inputs_is_rejected(
    released: Side, asked: Log
) -> None:
    def other(request: Request) -> predict_pb2.PredictResponse:
        del request.inputs["user_id"]
        return released.ask(request)

    found = replays.run(asked, released, Side("new", other), 50)
    (words,) = decisions.broken(rules.judge(found))
    assert "Missing but required: {user_id}" in words


def test_a_model_that_does_not_load_is_loaded_once(
    config: Config, asked: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def load(*arguments: object) -> None:
        loads.append(arguments)
        raise ServingError("no graph", "NOT_FOUND")

    monkeypatch.setattr(sides.Loader, "__call__", load)
    side = sides.find(config, "1", "NEW")
    for record in asked:
        with pytest.raises(ServingError, match="no graph"):
            side.ask(record.request)
    assert len(loads) == 1


@pytest.mark.parametrize("silent", ["LIVE", "NEW"])
def test_one_side_answers_nothing(
    config: Config, log: Log, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    def fails(request: Request) -> predict_pb2.PredictResponse:
        raise ServingError("no such signature", "FAILED_PRECONDITION")

    def find(_: Config, text: str, option: str) -> Side:
        return Side(text, fails if option == silent else listing(ITEMS))

    monkeypatch.setattr(sides, "find", find)
    _, judged = step.replay(config, log, "live", "new")

    broken = decisions.broken(judged)
    assert bool(broken) == (silent == "NEW")
    assert "20 of 20 fail. no such signature" in "".join(broken) or not broken
    written = json.loads((config.run_directory / "replay.json").read_text())
    assert written["latency_ratio"] is None
    page = (config.run_directory / "replay.md").read_text()
    assert f"errors of {silent.lower()}: 20" in page and "nan" not in page


def test_where_nothing_is_live_the_gate_goes_on(
    config: Config, asked: Log, tmp_path: Path
) -> None:
    empty = replace(config, artifacts=str(tmp_path))
    (rule,) = step.at_the_gate(empty, asked.where)
    assert rule.outcome == "not judged"
    with pytest.raises(DataError, match="Received: none.*Publish one"):
        sides.find(empty, "", "LIVE")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7", "must be a whole version. Received: 7, which lacks"),
        ("new", "must be a version, an address.*Received: 'new'"),
        ("export", "Run `make export`"),
    ],
)
def test_who_is_not_there_is_told(
    config: Config, text: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        sides.find(config, text, "NEW")


def test_a_server_is_asked_by_its_address(config: Config) -> None:
    class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802
            if request.model_spec.name == "none":
                context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
            return response([["a"]])

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Server(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        side = sides.find(config, f"127.0.0.1:{port}", "LIVE")
        request = Request()
        assert logs.lists(side.ask(request)) == [(["a"], [0.0])]
        request.model_spec.name = "none"
        with pytest.raises(ServingError, match="no such model") as caught:
            side.ask(request)
        assert caught.value.code == "NOT_FOUND"
    finally:
        server.stop(None)


def test_a_replay_that_breaks_a_rule_keeps_what_is_live(
    config: Config, tmp_path: Path
) -> None:
    exports = config.serving_directory.parent / "none"
    model = exports / "retrieval" / "assets.extra"
    model.mkdir(parents=True)
    (model / "manifest.json").write_text('{"bundle_id": "b1"}')
    evaluation = tmp_path / "evaluation.json"
    evaluations.made("b1").write(evaluation)
    pointer = (config.serving_directory / "models.config").read_text()
    rule = Rule.of("replay: answers", False, "3 of 20 fail.")
    with pytest.raises(GateRejected, match="3 of 20 fail"):
        publish.run(config, exports, evaluation, None, [rule])
    assert (config.serving_directory / "models.config").read_text() == pointer
