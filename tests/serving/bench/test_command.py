"""What the benchmarks of a server refuse, before they start one."""

import pytest

from serving.bench.__main__ import main
from serving.releases import versions


@pytest.mark.parametrize("command", ["swaps", "fleet", "logged", "cost"])
def test_nothing_is_published_yet(tmp_path, command, capsys):
    absent = str(tmp_path / "models.config")

    assert main([command, "--models-config", absent]) == 2

    said = capsys.readouterr().err
    assert absent in said and "make demo" in said


@pytest.mark.parametrize("flag", ["--count", "--threads", "--seconds"])
def test_a_load_of_nothing(tmp_path, flag, capsys):
    config = tmp_path / "models.config"
    config.touch()

    assert main(["swaps", f"--models-config={config}", f"{flag}=0"]) == 2

    assert flag in capsys.readouterr().err


def test_what_was_published_lies_elsewhere(tmp_path, capsys):
    config = tmp_path / "models.config"
    moved = {name: ("/moved", [1]) for name in ("retrieval", "ranking")}
    versions.write_models_config(config, moved)

    assert main(["swaps", f"--models-config={config}"]) == 2

    assert "Received: no /moved/1" in capsys.readouterr().err
