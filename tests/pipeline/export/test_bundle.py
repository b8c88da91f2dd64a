"""What exported models say of themselves."""

from pipeline.export import bundle
from pipeline.steps import Run
from serving import signatures


def test_all_models_carry_one_bundle_id(tiny_run: Run) -> None:
    exports = tiny_run.export()
    ids = {bundle.read_bundle_id(exports / name) for name in signatures.BUNDLE}
    assert len(ids) == 1
    assert ids != {""}
