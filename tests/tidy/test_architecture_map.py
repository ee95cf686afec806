"""The map in ARCHITECTURE.md is complete: every station, every package, and no path that is not there."""

import re

from helpers.places import ROOT

MAP = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("\n## Map\n")[2].partition("\n## ")[0]
TOPS = ("flows", "operators", "connectors", "state")
STATIONS, PACKAGES = MAP.split("### Packages")


def paths(text: str) -> set[str]:
    return set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text))


def test_every_path_of_the_map_exists() -> None:
    assert len(paths(MAP)) > 60
    assert [path for path in sorted(paths(MAP)) if not (ROOT / path).exists()] == []


def test_every_name_on_the_way_of_an_event_exists() -> None:
    named = re.findall(r"`([\w.]+)`\s+\(`([\w/]+\.py)`", STATIONS)
    assert len(named) > 8
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for _, path in named}
    for name, path in named:
        for part in name.split("."):
            assert re.search(rf"\b(?:class|def) {part}\b", texts[path]), f"{name} is not in {path}"


def test_every_package_is_on_the_map() -> None:
    there = {f"{file.parent.relative_to(ROOT)}/" for top in TOPS for file in (ROOT / top).rglob("__init__.py")}
    assert len(there) > 20
    assert there - paths(PACKAGES) == set()


def test_every_station_is_on_the_map() -> None:
    flows = {file.stem for file in (ROOT / "flows").glob("*.py") if "\ndef build(" in file.read_text(encoding="utf-8")}
    assert len(flows) == 7
    rows = {match[1]: match[2] for match in re.finditer(r"^\| (\w+) \|(.*)\|$", STATIONS, re.MULTILINE)}
    assert set(rows) - {"station"} == flows | {"gateway"}
    for station in flows | {"gateway"}:
        assert f"`flows/{station}.py`" in rows[station]
