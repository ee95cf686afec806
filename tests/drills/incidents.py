"""The incidents that drills play, each a function of a stage: it makes the trouble and says afterwards what must hold.

At scale 1 an incident lasts as long as its name says; `INCIDENTS` has them all.
"""

import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from crash.load import Job
from crash.whole_system import Tables
from drills.measures import Findings
from drills.stage import OPEN, Event, Stage, numbered
from helpers.up import alive
from helpers.waiting import wait_for

Claims = Callable[[Findings], Iterator[tuple[str, bool]]]
"""What must hold at the end, in words, and whether it does."""
STAR = "star"
_PUSH_RATE = 200
_BELIEVED = 50
_SMS_RATE = {"providers.twilio": {"rate_per_s": 500}}


@dataclass(frozen=True)
class Incident:
    """One drill."""

    what: str
    play: Callable[[Stage], Claims]
    tables: Tables = field(default_factory=dict)
    """Of the configuration."""
    p99_max_ms: int = 5_000
    """Of P0, while it lasts."""
    may_fail: bool = False
    """Whether deliveries may end as DEAD_LETTER, for those have no other channel."""


# People and events ---------------------------------------------------------------


def person(number: int) -> str:
    return f"p{number}"


def phone(number: int) -> Job:
    body = {"platform": "ios", "address": f"{number:064x}"}
    return Job("PUT", f"/v1/users/{person(number)}/endpoints/push/phone", body)


def mailbox(number: int) -> Job:
    return Job("PUT", f"/v1/users/{person(number)}/endpoints/email/home", {"address": f"p{number}@example.com"})


def mobile(number: int) -> Job:
    return Job("PUT", f"/v1/users/{person(number)}/endpoints/sms/mobile", {"address": f"+1555{2_000_000 + number}"})


def preference(number: int, document: Event) -> Job:
    return Job("PUT", "/v1/preferences", document, user=person(number))


def fans(count: int) -> Iterator[Job]:
    """Everybody follows the star."""
    everybody = [{"followee": STAR, "follower": person(number)} for number in range(count)]
    for begin in range(0, count, 500):
        yield Job("POST", "/v1/follows", everybody[begin : begin + 500])


def code(people: int) -> Callable[[int], Event]:
    """Sign-ins of one person after the other."""
    return lambda n: {"type": "otp", "target": person(n % people), "payload": {"code": f"{n:06}"}}


def mention(people: int) -> Callable[[int], Event]:
    return lambda n: {"type": "mention", "actor": f"friend{n}", "target": person(n * 7 % people), "object": f"t{n}"}


def star_post(_: int) -> Event:
    return {
        "type": "new_post",
        "fan_out_type": "FOLLOWERS",
        "actor": STAR,
        "object": "post",
        "payload": {"title": "Hi"},
    }


@contextmanager
def signing_in(stage: Stage, people: int, rate_per_s: float = 10) -> Iterator[None]:
    """One-time passwords all the while."""
    with stage.stream(rate_per_s, code(people), role="p0_producer"):
        stage.say(f"{rate_per_s:.0f} one-time passwords a second")
        stage.for_s(10)
        yield


def outcomes(findings: Findings) -> str:
    counts: dict[str, int] = {}
    for line in findings.deliveries():
        name = f"{line['channel']} {line['outcome']}"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _opened(stage: Stage) -> bool:
    return stage.seen.get("carillon_breaker_state{deliver,apns}", 0) == OPEN


# The incidents -------------------------------------------------------------------


def apns_out(stage: Stage) -> Claims:
    people = stage.many(3000)
    stage.settle((each for n in range(people) for each in (phone(n), mobile(n))), f"{people} people with phones")
    stage.settle(fans(people), "their star")
    with signing_in(stage, people):
        stage.post(star_post)
        stage.say(f"the star posts for {people}")
        before = stage.taken()["apns"]
        wait_for(lambda: stage.taken()["apns"] > before + people / 20, what="the first pushes", every_s=0.01)
        with stage.trouble("apns", "away"):
            stage.for_s(120)
        stage.for_s(10)

    def claims(findings: Findings) -> Iterator[tuple[str, bool]]:
        pushes = [line for line in findings.deliveries() if line["channel"] == "push"]
        unknown = sum(line["outcome"] == "UNKNOWN" for line in pushes)
        late = sum(line["ts"] >= stage.marks["over"] for line in findings.lines if line["provider"] == "apns")
        yield f"the breaker of APNs opened ({outcomes(findings)})", _opened(stage)
        yield f"{late} pushes waited for APNs and were sent when it was back", late > people / 10
        yield f"of the fan-out {unknown} are UNKNOWN, at most what was in flight when the line was cut", unknown <= 500
        yield "no follower is without an end", len(findings.decisions()) >= people

    return claims


def marketing(stage: Stage) -> Claims:
    people = stage.many(6000)
    wanted = {"types": {"promotion": {"enabled": True}}}
    stage.settle(
        (each for n in range(people) for each in (mailbox(n), mobile(n), preference(n, wanted))), f"{people} readers"
    )
    members = [person(number) for number in range(people)]
    stage.settle([Job("PUT", "/v1/segments/readers", members)], "a segment")
    body = {"type": "promotion", "fan_out_type": "SEGMENT", "segment": "readers", "payload": {"title": "Sale"}}
    with signing_in(stage, people, 20):
        stage.mark("trouble")
        for number in range(3):
            stage.post(lambda _, number=number: body | {"object": f"sale{number}"})  # type: ignore[misc]  # bound at once
            stage.say(f"a campaign for {people}")
            stage.for_s(20)
        stage.mark("over")

    def claims(findings: Findings) -> Iterator[tuple[str, bool]]:
        mails = sum(line["channel"] == "email" for line in findings.deliveries())
        yield f"the campaigns went out ({outcomes(findings)})", mails >= people

    return claims


def retry_storm(stage: Stage) -> Claims:
    people, wait_s = stage.many(1000), max(2, round(10 * stage.scale))
    stage.settle(
        (each for n in range(people) for each in (phone(n), mobile(n), mailbox(n))), f"{people} people with phones"
    )
    with signing_in(stage, people), stage.stream(60, mention(people)):
        stage.say("60 mentions a second")
        with stage.trouble("apns", "503", share=0.2, seed=stage.seed, retry_after_s=wait_s):
            stage.for_s(60)
        stage.for_s(10)

    def claims(findings: Findings) -> Iterator[tuple[str, bool]]:
        begin, end = stage.marks["trouble"], stage.marks["over"]
        refused = sum(line["provider"] == "apns" and line["status"] == 503 for line in findings.lines)
        early = findings.early_retries(wait_s * 1000 - 50, "apns", begin, end)
        yield f"APNs refused {refused} ({outcomes(findings)})", refused > 0
        yield f"{early} came again before the {wait_s} s that APNs asked for", early == 0
        yield f"a message was tried {findings.tries_max('apns')} times at most, of 4", findings.tries_max("apns") <= 4

    return claims


def graveyard(stage: Stage) -> Claims:
    people = max(5 * _BELIEVED, stage.many(1500))
    stage.settle((each for n in range(people) for each in (phone(n), mobile(n))), f"{people} people with phones")
    stage.settle(fans(people), "their star")
    with signing_in(stage, people):
        with stage.trouble("apns", "gone", share=0.6, seed=stage.seed):
            stage.post(star_post)
            stage.say(f"the star posts for {people}, of whom APNs no longer knows six tenths")
            stage.for_s(30)
            wait_for(lambda: stage.refused()["apns"] > 2.5 * _BELIEVED, what="more than what is believed", every_s=0.1)
        stage.for_s(5)

    def claims(findings: Findings) -> Iterator[tuple[str, bool]]:
        gone = len({line["to"] for line in findings.lines if line["status"] == 410})
        believed, withheld = (_verdicts(stage, result) for result in ("believed", "withheld"))
        yield f"APNs called {gone} tokens gone ({outcomes(findings)})", gone > 2 * _BELIEVED
        bound = 2 * _BELIEVED + 0.1 * len(findings.lines)  # deliver and transactional, each for itself
        yield f"{believed:.0f} of its verdicts were believed, at most {bound:.0f}", 0 < believed <= bound
        yield f"{withheld:.0f} were withheld", withheld > 0
        yield "deliver raised its alarm `verdicts_withheld`", _log_says(stage, "deliver", "verdicts_withheld")

    return claims


def _verdicts(stage: Stage, result: str) -> float:
    found = [value for key, value in stage.seen.items() if key.startswith("carillon_verdicts_total{") and result in key]
    return sum(found)


def _log_says(stage: Stage, process: str, event: str) -> bool:
    return event in (stage.system.directory / "run" / "logs" / f"{process}.log").read_text()


def night(stage: Stage) -> Claims:
    people = stage.many(400)
    now = datetime.now(UTC)
    zone = f"Etc/GMT{(now.hour - 3 + 11) % 24 - 11:+d}"  # west of Greenwich is +
    quiet = {"enabled": True, "start": "22:00", "end": "08:00", "timezone": zone}
    document = {"quiet_hours": quiet, "types": {"promotion": {"enabled": True}}}
    stage.settle(
        (each for n in range(people) for each in (preference(n, document), phone(n), mobile(n), mailbox(n))),
        f"{people} people asleep in {zone}",
    )
    stage.settle([Job("PUT", "/v1/segments/all", [person(number) for number in range(people)])], "a segment")
    stage.say(f"it is {(now.hour - int(zone[7:])) % 24}:{now:%M} there")
    stage.mark("trouble")
    with stage.stream(people / 8 / stage.scale, mention(people)):
        stage.post(lambda _: {"type": "promotion", "fan_out_type": "SEGMENT", "segment": "all", "object": "sale"})
        stage.say("a campaign for all, and mentions")
        alerts = iter(range(people))
        alert = {"type": "security_alert", "payload": {"text": "A new device signed in."}}
        jobs = (
            numbered(next(stage.numbers), lambda _: alert | {"target": person(next(alerts))}, "p0_producer")
            for _ in range(people)
        )
        stage.settle(jobs, "a security alert for each")
        stage.for_s(8)
    stage.mark("over")

    def claims(findings: Findings) -> Iterator[tuple[str, bool]]:
        held, sms = len(findings.decisions("HELD")), stage.taken()["twilio"]
        p1 = [line for line in findings.deliveries() if _type_of(findings, line) in ("mention", "promotion")]
        asleep = [line for line in findings.decisions("SUPPRESSED") if line["type"] == "promotion"]
        yield f"every alert went out by text message: {sms}", sms == people
        yield f"{held} mentions wait for the morning, {len(p1)} deliveries of P1 and P2", held > 0 and not p1
        yield f"the campaign was suppressed for {len(asleep)} of {people}", len(asleep) == people

    return claims


def _type_of(findings: Findings, delivery: Event) -> str:
    return str(findings.states["emission", delivery["emission_id"]]["type"])


def duplicates(stage: Stage) -> Claims:
    stage.settle([phone(0), mobile(0)], "one person")
    times = stage.many(5000)
    posts = [
        numbered(
            next(stage.numbers), lambda _: {"type": "mention", "actor": "ann", "target": person(0), "object": "t"}
        ),
        numbered(next(stage.numbers), code(1), "p0_producer"),
    ]
    stage.mark("trouble")
    stage.settle(
        itertools.chain.from_iterable(itertools.repeat(posts, times)), f"the same two events, {times} times each"
    )
    stage.mark("over")

    def claims(findings: Findings) -> Iterator[tuple[str, bool]]:
        answers = [status for sent in findings.truth.sent.values() for status, _ in sent.answers]
        new, repeats, taken = answers.count(202), answers.count(200), stage.taken()
        yield f"{new} answers said 202, {repeats} that it is a repeat", (new, repeats) == (2, 2 * times - 2)
        yield (
            f"providers took {taken}: a push each, and the code's text message",
            (taken["apns"], taken["twilio"]) == (2, 1),
        )

    return claims


def credential(stage: Stage) -> Claims:
    people = stage.many(500)
    stage.settle(
        (each for n in range(people) for each in (phone(n), mobile(n), mailbox(n))), f"{people} people with phones"
    )
    with signing_in(stage, people), stage.stream(20, mention(people)):
        stage.say("20 mentions a second")
        stage.for_s(5)
        with stage.trouble("apns", "credential"):
            stage.for_s(90)
        stage.for_s(20)

    def claims(findings: Findings) -> Iterator[tuple[str, bool]]:
        believed = _verdicts(stage, "")
        yield f"no token was retired for it ({outcomes(findings)})", believed == 0
        yield "the breaker of APNs opened", _opened(stage)
        yield "deliver said so in its log", _log_says(stage, "deliver", '"breaker"')

    return claims


def celebrity(stage: Stage) -> Claims:
    people = stage.many(3000)
    opted_out = {"types": {"new_post": {"enabled": False}}}
    stage.settle(
        (each for n in range(people) for each in (mailbox(n), *([phone(n)] if n % 2 else []), mobile(n))),
        f"{people} fans, half of them with phones",
    )
    stage.settle((preference(n, opted_out) for n in range(0, people, 10)), "a tenth wants no posts")
    stage.settle(fans(people), "their star")
    state = stage.system.directory / "state" / "decide"
    with signing_in(stage, people), stage.trouble("smtp", "slow1500"):
        stage.post(star_post)
        stage.say(f"the star posts for {people}")
        killed = _lose_preferences(stage, state)
        stage.for_s(60)

    def claims(findings: Findings) -> Iterator[tuple[str, bool]]:
        posts = [line for line in findings.decisions() if line["type"] == "new_post"]
        wrong = [line for line in posts if line["outcome"] == "EMITTED" and int(line["user"][1:]) % 10 == 0]
        yield f"every fan's post was decided: {len(posts)} ({outcomes(findings)})", len(posts) == people
        yield f"{len(wrong)} were sent to people who want none", not wrong
        yield f"decide was killed {len(killed)} times, and its state is there again", len(killed) > 1 and state.exists()

    return claims


def _lose_preferences(stage: Stage, state: Path) -> list[int]:
    """Decide, which has everybody's preferences, loses its state, and dies for some time whenever it starts."""
    up, killed = stage.system.up, [stage.system.up.pids()["decide"]]
    os.kill(killed[0], signal.SIGSTOP)
    shutil.rmtree(state)
    os.kill(killed[0], signal.SIGKILL)
    stage.say("decide is killed, and its state with all preferences is deleted")
    end = time.monotonic() + 20 * stage.scale
    while time.monotonic() < end:
        pid = up.pids()["decide"]
        if pid not in killed and alive(pid):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.1)
    stage.say(f"decide was killed {len(killed)} times; from now on it may live")
    return killed


INCIDENTS: dict[str, Incident] = {
    "apns-out": Incident(
        "APNs cannot be reached for two minutes during a fan-out", apns_out,
        {"types.otp": {"policy": "first"}, "providers.apns": {"rate_per_s": _PUSH_RATE}, **_SMS_RATE},
    ),
    "marketing": Incident("three campaigns against one-time passwords", marketing, _SMS_RATE),
    "retry-storm": Incident(
        "APNs refuses a fifth of all and asks to wait, for a minute", retry_storm, _SMS_RATE, may_fail=True
    ),
    "graveyard": Incident("six tenths of all tokens are gone at once", graveyard, _SMS_RATE, may_fail=True),
    "night": Incident("a security alert at three in the morning", night, _SMS_RATE),
    "duplicates": Incident("the same events thousands of times", duplicates),
    "credential": Incident(
        "our credential at APNs is refused for a minute and a half", credential, _SMS_RATE, may_fail=True
    ),
    "celebrity": Incident(
        "preferences lost and the mail relay slow during a celebrity's post", celebrity,
        {"types.new_post": {"channels": ["push", "email", "in_app"]}, **_SMS_RATE},
    ),
}  # fmt: skip
