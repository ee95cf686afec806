"""The alerts ask for what the processes publish."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from connectors import metrics
from flows.steps.sending.call import ASK_AGAIN

TEXT = (Path(metrics.__file__).parent.parent / "infra" / "alerts.yaml").read_text()
EXPRESSIONS = re.findall(r"expr: (?:>-\n)?(.*?)\n        (?:for|labels):", TEXT, re.DOTALL)


def labels_of(name: str) -> set[str]:
    """Of a metric of the catalogue, by a name that a scrape has."""
    collectors = REGISTRY._names_to_collectors
    assert name in collectors, name
    collector = collectors[name]
    assert name.startswith(tuple(each._name for each in vars(metrics).values() if hasattr(each, "_labelnames")))
    found = getattr(collector, "_labelnames", ())
    return {*found, "le"} if name.endswith("_bucket") else set(found)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_alert_names_metrics_and_labels_that_there_are(expression: str) -> None:
    names = set(re.findall(r"carillon_\w+", expression))
    assert names
    asked = set(re.findall(r"by \((\w+)\)", expression)) | set(re.findall(r"\{(\w+)=", expression))
    for name in names:
        assert asked <= labels_of(name)


def test_every_alert_is_asked_about() -> None:
    assert len(EXPRESSIONS) == TEXT.count("- alert:") > 0


def test_a_refused_credential_is_told_before_the_provider_is_asked_again() -> None:
    """A provider may refuse each message and be content with the question, and there may be few messages."""
    [waits] = re.findall(r"- alert: CarillonCredentialRefused\n.*\n +for: (\d+)m\n", TEXT)
    assert timedelta(minutes=3 * int(waits)) <= ASK_AGAIN
