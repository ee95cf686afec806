"""What `make sdk` wrote is what it would write now."""

import re

from infra.sdk.generate import MODULE, document, files, operations


def test_the_generated_files_are_as_the_document_is() -> None:
    stale = [path.name for path, text in files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "type: make sdk"


def test_the_client_for_javascript_has_every_call() -> None:
    written = set(re.findall(r"^  (?:async )?(\w+)(?: = )?\(", MODULE.read_text(encoding="utf-8"), re.MULTILINE))
    assert [one.name for one in operations(document()) if one.name_in_javascript not in written] == []
