"""`carillon templates`: published texts as files, `DIR/<type>/<locale>.json`, checked, compared, published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from connectors.audit import COMMAND_LINE
from connectors.campaigns import Actor
from connectors.log.interface import Log
from connectors.templates import TemplateDesk
from flows.commands.kill import user_name
from flows.process.open import clock_ms
from operators.preview import NO_PRICES, WrittenTexts
from state.disk.files import replace_file
from state.model.errors import TemplateError
from state.model.registry import Registry
from state.model.template import TemplateRecord, TemplateSource, TypeTexts

_decoder = msgspec.json.Decoder(dict[str, TemplateSource])
_Place = tuple[str, str]


class TemplateChange(NamedTuple):
    """What publishing the files changes for one type and locale."""

    place: _Place
    before: TemplateRecord | None
    texts: dict[str, TemplateSource] | None
    """None: there is no file."""

    @property
    def what(self) -> str:
        """`new`, `changed`, or `no file`."""
        if self.texts is None:
            return "no file"
        return "new" if self.before is None or self.before.texts is None else "changed"


def read_templates(directory: Path, registry: Registry, log: Log) -> dict[_Place, dict[str, TemplateSource]]:
    """Every file, checked as what it would be in force with.

    :raises TemplateError: naming each file, field and remedy.
    :raises LogError: the log cannot be read.
    """
    found: dict[_Place, dict[str, TemplateSource]] = {}
    faults = list[str]()
    for path in sorted(directory.glob("*/*.json")):
        place = path.parent.name, path.stem
        try:
            texts = _decoder.decode(path.read_bytes())
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {error}; write an object of texts")
            continue
        found[place] = texts
    published = {place: record.texts for place, record in TemplateDesk(log, clock=clock_ms).published().items()}
    everything: dict[_Place, TypeTexts] = {place: texts for place, texts in published.items() if texts}
    everything.update(found)
    rules = WrittenTexts(registry.profile, NO_PRICES)
    for type_name, locale in found:
        path = directory / type_name / f"{locale}.json"
        faults += (f"{path}: {fault}" for fault in rules.faults((type_name, locale), everything))
    if faults:
        raise TemplateError("\n".join(faults))
    return found


def changes(log: Log, files: dict[_Place, dict[str, TemplateSource]]) -> list[TemplateChange]:
    """Where files and published texts differ, by type and locale.

    :raises LogError: the log cannot be read.
    """
    published = TemplateDesk(log, clock=clock_ms).published()
    found = []
    for place in sorted({*files, *published}):
        before, texts = published.get(place), files.get(place)
        if texts != (None if before is None else before.texts):
            found.append(TemplateChange(place, before, texts))
    return found


def push(
    log: Log, files: dict[_Place, dict[str, TemplateSource]], *, prune: bool, reason: str | None
) -> Iterator[TemplateChange]:
    """Publish what differs; `prune`: take back what has no file. Gives each change once it is in the log.

    :raises LogError: the log cannot be read or written.
    """
    actor, desk = Actor(user_name(), COMMAND_LINE), TemplateDesk(log, clock=clock_ms)
    for change in changes(log, files):
        if change.texts is None and not prune:
            continue
        desk.publish(actor, change.place, change.texts, reason=reason)
        yield change


def pull(log: Log, directory: Path) -> Iterator[Path]:
    """Write what is published; the same texts give the same bytes. Files of what is not published stay.

    :raises LogError: the log cannot be read.
    """
    for place, record in sorted(TemplateDesk(log, clock=clock_ms).published().items()):
        if record.texts is not None:
            path = directory / place[0] / f"{place[1]}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, msgspec.json.format(msgspec.json.encode(record.texts, order="sorted"), indent=2) + b"\n")
            yield path
