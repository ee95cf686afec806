"""What a message says where a text is published: that text, or the built-in one where it fails; never nothing."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import replace
from typing import Any

from helpers.feeding import PARTITIONS, System
from helpers.lanes_in_process import Provider, last_look, read, running_lanes
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.log.interface import Record
from connectors.providers.channel import Delivery, Result, Sent
from connectors.templates import PublishedTexts, template_record
from flows.steps.lanes.lane import Lane
from state.model.content import Content, PushContent, SmsContent
from state.model.envelope import schema_of
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

    def body(**more: Any) -> str:
        before, start = len(said), system.log.end_offset("deliver.push", LANE)
        system.feed([system.emission("u1", "push", [("d", "t", "android")], locale="pt-BR", **more)])
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
            draft = {"channel": "push", "locale": "pt", "texts": {"title": "D", "one": "{{ actor }} talvez"}}
            assert body(draft=draft) == "ann talvez", "a test says its own text, whatever is published"
            publish(3, None)
            assert body() == BUILT_IN
            assert failed() == before + 1


def test_the_variant_that_was_sent_is_on_the_ledger_also_after_a_restart(system: System) -> None:
    users = [name for name in map("u{}".format, range(60)) if partition_of_group(key_group(name), PARTITIONS) == LANE]
    halves: dict[str, TemplateSource] = {"title": "T", "one": "A", "_variants": "a 50, b 50", "b:one": "B"}
    said: dict[tuple[str, str], str] = {}
    told: dict[tuple[str, str], dict[str, Any]] = {}
    silent = asyncio.Event()

    async def answer(delivery: Delivery) -> Result:
        assert isinstance(delivery.content, PushContent | SmsContent)
        body = delivery.content.body if isinstance(delivery.content, PushContent) else delivery.content.text
        said[delivery.user, delivery.channel] = body
        if delivery.channel == "sms":
            await silent.wait()
        return Sent("")

    def feed(channel: str) -> list[Record]:
        start = system.log.end_offset(f"deliver.{channel}", LANE)
        system.feed([system.emission(user, channel, [("d", "t", None)]) for user in users])
        return read(system, LANE, f"deliver.{channel}", start)

    def hear(lane: Lane) -> bool:
        ends = [each for each in lane.collect() if schema_of(each.headers) == "delivery/1+json"]
        records = [json.loads(each.value) for each in ends]
        told.update({(each["user"], each["channel"]): each for each in records})
        return not lane.open

    system.log.append([template_record(TemplateRecord(type="like", locale="en", version=1, by="ann", texts=halves))])
    with closing(PublishedTexts(system.log).start()) as published:
        channels = {"push": Provider(answer), "sms": Provider(answer)}
        look = replace(last_look(system), published=published)
        with running_lanes(system, channels=channels, last_look=look) as (lanes, _):
            lane = lanes.lane(LANE)
            lane.accept(feed("push"))
            wait_for(lambda: hear(lane))
            lane.accept(texts := feed("sms"))
            wait_for(lambda: len(said) == 2 * len(users))
        with running_lanes(system, channels=channels, last_look=replace(look, published=None)) as (lanes, _):
            lane = lanes.lane(LANE)
            lane.accept(texts)
            wait_for(lambda: hear(lane))
    assert {each["outcome"] for (_, channel), each in told.items() if channel == "sms"} == {"UNKNOWN"}
    for user in users:
        got = {told[user, channel]["variant"].upper() for channel in ("push", "sms")}
        assert got == {said[user, "push"]} == {said[user, "sms"]}
    assert set(said.values()) == {"A", "B"}
