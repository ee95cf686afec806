"""What a message says where a text is published: that text, or the built-in one where it fails; never nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from helpers.feeding import PARTITIONS, System
from helpers.lanes_in_process import Provider, last_look, read, running_lanes
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.providers.channel import Delivery, Result, Sent
from connectors.templates import PublishedTexts, template_record
from state.model.content import Content, PushContent
from state.model.keys import key_group, partition_of_group
from state.model.template import TemplateRecord, TemplateSource

LANE = partition_of_group(key_group("u1"), PARTITIONS)
BUILT_IN = "ann liked your photo"


def failed() -> float:
    return REGISTRY.get_sample_value("carillon_templates_failed_total", {"type": "like"}) or 0.0


def test_the_newest_text_goes_out_and_a_bad_one_costs_no_message(system: System) -> None:
    said: list[Content] = []

    async def answer(delivery: Delivery) -> Result:
        said.append(delivery.content)
        return Sent("")

    def publish(version: int, texts: dict[str, TemplateSource] | None) -> None:
        record = TemplateRecord(type="like", locale="pt", version=version, by="ann", texts=texts)
        system.log.append([template_record(record)])
        wait_for(lambda: published.texts("like", "pt-BR") == texts)

    def body() -> str:
        before, start = len(said), system.log.end_offset("deliver.push", LANE)
        system.feed([system.emission("u1", "push", [("d", "t", "android")], locale="pt-BR")])
        lane.accept(read(system, LANE, start=start))

        def over() -> bool:
            lane.collect()
            return not lane.open

        wait_for(over)
        (content,) = said[before:]
        assert isinstance(content, PushContent)
        return content.body

    with closing(PublishedTexts(system.log).start()) as published:
        look = replace(last_look(system), published=published)
        with running_lanes(system, channels={"push": Provider(answer)}, last_look=look) as (lanes, _):
            lane = lanes.lane(LANE)
            assert body() == BUILT_IN
            publish(1, {"title": "T", "one": "{{ actor }} curtiu"})
            assert body() == "ann curtiu"
            before = failed()
            publish(2, {"title": "T", "one": "{{ p.nothing }}"})
            assert body() == BUILT_IN
            assert failed() == before + 1
            publish(3, None)
            assert body() == BUILT_IN
            assert failed() == before + 1
