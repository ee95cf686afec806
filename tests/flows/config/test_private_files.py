"""Who else may read the files with secrets."""

from pathlib import Path

import pytest

from flows.commands.check import check
from flows.config.private_files import exposed_files
from flows.config.settings import load_settings

KEY = '[senders.ops]\nkey = "0123456789abcdef"\nrole = "ops"\n'
APNS = '[providers.apns]\nteam_id = "T"\nkey_id = "K"\ntopic = "app"\nsigning_key = "{}"\n'


@pytest.mark.parametrize(
    ("text", "mode", "exposed"),
    [
        (KEY, 0o600, False), (KEY, 0o640, False), (KEY, 0o644, True), (KEY, 0o602, True),
        ("[limits]\ndevices_max = 5\n", 0o644, False), ('[redis]\nurl = "redis://cache:6379/0"\n', 0o644, False),
        ('[redis]\nurl = "redis://:word@cache:6379/0"\n', 0o644, True),
        ('[kafka.client_settings]\n"sasl.password" = "word"\n', 0o644, True),
        ('[kafka.client_settings]\n"ssl.ca.location" = "ca.pem"\n', 0o644, False),
    ],
)  # fmt: skip
def test_a_configuration_with_secrets_is_for_its_owner_and_his_group(
    tmp_path: Path, text: str, mode: int, exposed: bool
) -> None:
    file = tmp_path / "carillon.toml"
    file.write_text(text)
    file.chmod(mode)
    found = list(exposed_files(load_settings(file=file, environment={}), file))
    assert [each.endswith(f"(mode {mode:o}): chmod o= {file}") for each in found] == [True] * exposed


def test_so_are_the_keys_that_it_names_and_check_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, file = tmp_path / "apns.p8", tmp_path / "carillon.toml"
    for each, text in ((key, "a key"), (file, APNS.format(key))):
        each.write_text(text)
        each.chmod(0o644)
    monkeypatch.setenv("CARILLON_CONFIG", str(file))
    settings = load_settings(data_dir=tmp_path / "data")
    said = [each.detail for each in check(settings) if each.what == "files with secrets"]
    assert [str(key) in each for each in said] == [True], "the key's own file, and no other"
    key.chmod(0o600)
    assert not list(exposed_files(settings, file))


def test_a_data_directory_of_an_earlier_version_is_named_where_others_may_read_what_is_in_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "log").mkdir(parents=True)
    file = tmp_path / "carillon.toml"
    file.touch()
    settings = load_settings(data_dir=data, file=file, environment={})
    for mode, below, exposed in ((0o755, 0o755, True), (0o755, 0o700, False), (0o700, 0o755, False)):
        data.chmod(mode)
        (data / "log").chmod(below)
        found = list(exposed_files(settings, file))
        assert [each.endswith(f"(mode 755): chmod o= {data}") for each in found] == [True] * exposed
