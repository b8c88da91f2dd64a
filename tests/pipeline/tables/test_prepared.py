"""The prepared tables as others read them."""

from pipeline.measure import requests
from pipeline.tables import sequences
from pipeline.tables.prepared import Prepared
from tests.support.prepared_stub import make_prepared


def test_the_sequences_are_read_once(tmp_path, monkeypatch):
    stub = make_prepared([[2, 3, 4, 5], [6, 7, 2]], 8)
    prepared = Prepared(**(vars(stub) | {"directory": tmp_path}))
    reads = []

    def read(directory):
        reads.append(directory)
        return stub.sequences()

    monkeypatch.setattr(sequences, "read", read)
    for part in ("validation", "test"):
        asked = requests.make(prepared, part)
        assert len(asked) == 2
    assert prepared.sequences() is prepared.sequences()
    assert reads == [tmp_path]
