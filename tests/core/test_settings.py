from __future__ import annotations

from pathlib import Path

import pytest

from fdream.core.errors import SettingsError
from fdream.core.settings import load_settings, misspelt_variables


@pytest.fixture
def user_file(own_home: Path, in_tmp: Path) -> Path:
    return own_home / "config.toml"


def test_first_that_speaks_wins_and_is_named(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text('device = "cuda"\ndtype = "float16"\nthreads = 1\n')
    Path("fdream.toml").write_text('device = "mps"\ndtype = "bfloat16"\n')
    monkeypatch.setenv("FDREAM_DEVICE", "cpu")
    loaded = load_settings({"device": "cuda:1", "dtype": None})
    assert loaded.settings.device == "cuda:1"
    assert loaded.settings.dtype == "bfloat16"
    assert loaded.settings.threads == 1
    assert loaded.origin("device") == "command line"
    assert loaded.origin("dtype") == "./fdream.toml"
    assert loaded.origin("threads") == str(user_file)
    assert load_settings().settings.device == "cpu"
    assert load_settings().origin("device") == "FDREAM_DEVICE"


def test_without_sources_there_are_defaults(user_file: Path) -> None:
    loaded = load_settings()
    assert loaded.settings.device == "auto"
    assert loaded.origin("device") == "default"


def test_variables_are_read_as_their_type(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> None:
    monkeypatch.setenv("FDREAM_THREADS", "2")
    assert load_settings().settings.threads == 2


@pytest.mark.parametrize("name", ["cache", "token", "endpoint", "endpoint_key", "hub_token", "key"])
def test_folder_may_not_redirect_data_or_keys(user_file: Path, name: str) -> None:
    Path("fdream.toml").write_text(f'{name} = "https://elsewhere.example"\n')
    with pytest.raises(SettingsError, match=rf"{name} may not be set by a folder"):
        load_settings()


def test_user_may_set_the_cache(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FDREAM_CACHE")
    user_file.write_text('cache = "/somewhere"\n')
    assert load_settings().settings.cache == Path("/somewhere")


def test_all_faults_are_told_with_their_origin(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text('devcie = "cpu"\n')
    monkeypatch.setenv("FDREAM_THREADS", "none")
    monkeypatch.setenv("FDREAM_DEVICE", "gpu")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert "devcie = 'cpu'" in message
    assert "did you mean device?" in message
    assert "threads = 'none' (from FDREAM_THREADS)" in message
    assert "device = 'gpu' (from FDREAM_DEVICE): expected auto, cuda, cuda:N, mps" in message


def test_broken_file_is_named(user_file: Path) -> None:
    user_file.write_text("device =")
    with pytest.raises(SettingsError, match=r"config\.toml: not valid TOML"):
        load_settings()


def test_misspelt_variables_are_found_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDREAM_DEVCIE", "cpu")
    monkeypatch.setenv("FDREAM_XYZZY", "1")
    monkeypatch.setenv("FDREAM_PLUGINS", "")
    assert misspelt_variables() == {"FDREAM_DEVCIE": "FDREAM_DEVICE", "FDREAM_XYZZY": None}
