"""What the benchmarks of a server refuse, before they start one."""

import pytest

from serving.bench.__main__ import main


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
