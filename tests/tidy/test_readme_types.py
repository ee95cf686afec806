"""README's table of types says what the registry and the templates say."""

import re

from helpers.places import ROOT

from operators.templates import load_language
from state.model.registry import TypeProfile, load_registry

README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows() -> dict[str, tuple[str, str, str, set[str]]]:
    """Type to its class, whom it reaches, its channels and the payload's fields."""
    found = {}
    table = README.partition("| type | class, window |")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        names, klass, reaches, channels, payload = (cell.strip() for cell in line.split("|")[1:-1])
        for name in re.findall(r"`([^`]+)`", names):
            found[name] = (klass, reaches, channels, set(re.findall(r"`(\w+)`", payload)))
    return found


def class_and_window(profile: TypeProfile) -> str:
    text = profile.klass + (f", {profile.window_ms // 1000} s" if profile.window_ms else "")
    return text + ("" if profile.enabled or profile.klass != "P2" else ", *opt-in*")


def reaches(profile: TypeProfile) -> str:
    audiences = {"DIRECT": "one person", "FOLLOWERS": "the actor's followers", "SEGMENT": "a segment"}
    return " or ".join({**audiences, "BROADCAST": "everybody"}[kind] for kind in profile.fan_out or ("DIRECT",))


def fields(name: str) -> set[str]:
    """What the English texts take from a payload."""
    text = str(load_language("en")["types"][name])
    labels = {"object_label"} if re.search(r"\blabel\b", text) else set()
    return set(re.findall(r"\bp\.(\w+)", text)) | labels


def test_every_type_is_listed_as_it_is() -> None:
    listed, registry = rows(), load_registry()
    assert set(listed) == set(registry.names())
    for name in registry.names():
        profile = registry.profile(name)
        klass, audience, channels, payload = listed[name]
        assert klass == class_and_window(profile), name
        assert audience == reaches(profile), name
        assert re.findall(r"push|sms|email|in_app", channels) == list(profile.channels), name
        assert ("digest" in channels, "critical" in channels) == (profile.digest, profile.critical_push), name
        assert payload == fields(name), name
