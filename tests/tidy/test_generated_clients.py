"""What `make sdk` wrote is what it would write now."""

from infra.sdk.generate import document, files, operations


def test_the_generated_files_are_as_the_document_is() -> None:
    stale = [path.name for path, text in files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "type: make sdk"


def test_every_call_of_the_document_is_there_but_those_of_operators_and_mails() -> None:
    described = document()
    named = {one["operationId"] for path in described["paths"].values() for one in path.values()}
    left = {
        "setKillSwitch", "getKillSwitches", "streamInbox", "getUnsubscribe", "postUnsubscribe", "getHealth",
        "getReadiness", "getMetrics", "getOpenApi",
    }  # fmt: skip
    assert len(operations(described)) == len(named - left)
