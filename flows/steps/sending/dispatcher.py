"""The dispatcher: hands deliveries to providers, with intents before sends and retries within their budget (RULES 4).

One event loop in a thread of its own serves any number of lanes. For each try: the checks that come before every send
(`flows/steps/sending/late.py`), the intent durable in `attempts`, the checks again, the send, the answer durable in
`attempts`. The listener of siblings hears of an end after the end is durable. Among waiting deliveries P0 goes first
and P2 last. Each provider has a queue of its own, with a bound of requests in flight, so none holds up another.

If `attempts` cannot be appended to, it stops and sets `failure`: the flow ends, and a restart resumes what was stored.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
import uvloop

from connectors.log.grouped import BatchingAppender
from connectors.log.interface import Log
from connectors.log.owners import Fence
from connectors.providers.channel import Channel, Failed, Result
from flows.steps.sending.alike import AlikeLook
from flows.steps.sending.answered import AfterAnswer
from flows.steps.sending.attempts import AttemptLog
from flows.steps.sending.call import ProviderCalls
from flows.steps.sending.late import LastLook
from flows.steps.sending.message import MailLinks
from flows.steps.sending.outage import CanUse, leaving
from flows.steps.sending.queue import ProviderBounds, ProviderQueue, one_then_many
from flows.steps.sending.queues import ProviderQueues
from flows.steps.sending.records import answer_record, answered_records, closed_record, intent_record
from flows.steps.sending.retries import Retries
from flows.steps.sending.task import Planned, SendTask, Siblings
from flows.steps.sending.texts import TextMessages
from operators.attempts import DELIVERED, INTERRUPTED, UNKNOWN, resume
from state.model.addresses import Place
from state.model.content import Content
from state.model.delivery import Attempt, ChannelAddresses

_BATCH_MAX = 32
"""In a turn of the loop: what is for one person does not wait until hundreds of a fan-out are checked."""
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DispatcherParts:
    """What a dispatcher is built from; clocks and chance are arguments."""

    log: Log
    providers: Mapping[Place, Sequence[ProviderBounds]]
    """By channel and platform, in the order in which they are tried."""
    last_look: LastLook
    """Asked just before each send."""
    now_ms: Callable[[], int]
    uniform: Callable[[float, float], float]
    station: str = "deliver"
    """Who sends, for logs."""
    links: MailLinks | None = None
    """What gives mails their link to unsubscribe; None: they have none."""
    texts: TextMessages | None = None
    """What goes for text messages alone; None: nothing does."""
    fence: Fence | None = None
    """Whether the dispatcher still owns its place; None: nobody can take it over."""


class Dispatcher:
    """See the module. `submit` may be called by any thread; everything else of a task happens on the loop."""

    def __init__(self, parts: DispatcherParts) -> None:
        self._parts = parts
        self._loop = uvloop.new_event_loop()
        self.appender = BatchingAppender(parts.log)
        self.attempts = AttemptLog(self.appender, parts.log.partitions("attempts"))
        self.queues = ProviderQueues(parts.providers, self._made)
        self._answered = AfterAnswer(self.queues, self._failed, parts.last_look.renewed, parts.uniform)
        self._answers: list[tuple[SendTask, Result, int]] = []
        self._call = ProviderCalls(parts.now_ms, parts.texts, parts.last_look, self._spawn)
        self._storing = False
        self._retries = Retries(self._loop, self._retry)
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = self._closed = False
        self._drain_until: float | None = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"dispatcher-{parts.station}", daemon=True)

    def start(self) -> None:
        """Start the loop and connect the channels.

        :raises ConfigurationError: a channel cannot be set up.
        """
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._connect(), self._loop).result(timeout=60)

    def submit(self, tasks: Sequence[SendTask]) -> None:
        """Take tasks: send them, or resume what `attempts` says of them."""
        self._loop.call_soon_threadsafe(self._take, list(tasks))

    def after(self, action: Callable[[], None]) -> None:
        """Call on the loop, behind everything that was submitted before."""
        self._loop.call_soon_threadsafe(action)

    def hurry_at(self, siblings: Siblings, due: int) -> None:
        """Begin the next channel at that time unless a provider took one of their messages by then (RULES 3.E)."""
        delay = (due - self._parts.now_ms()) / 1000
        if delay > 0:
            self._loop.call_soon_threadsafe(self._loop.call_later, delay, self._hurry, siblings, due)
        else:  # in its turn: a start forgets what `attempts` says right behind it
            self._loop.call_soon_threadsafe(self._hurry, siblings, due)

    def _hurry(self, siblings: Siblings, due: int) -> None:
        channel = next((entry.channel for entry in siblings.rest if self._can_use(siblings, entry)), None)
        if self._draining:
            return  # the next start finds the timer again
        if self._parts.now_ms() < due:  # the loop's clock counts in its own milliseconds
            self._loop.call_later(0.001, self._hurry, siblings, due)
            return
        idle = channel is None or siblings.advanced or siblings.accepted_by(due)
        late = self._parts.now_ms() > siblings.emission.valid_until
        tasks = [] if channel is None or idle or late else siblings.next_channel(channel).make_tasks()
        siblings.hurried(len(tasks))
        self._take(tasks)

    def _can_use(self, siblings: Siblings, entry: ChannelAddresses) -> bool:
        served = any(self.queues.of(entry.channel, device) for device in entry.devices)
        return served and not self._parts.last_look.is_stopped(siblings.scope(entry.channel))

    def _can_go_on(self, siblings: Siblings, entry: ChannelAddresses) -> bool:
        """Whether it may take over from a provider that is away: not if its own is away too."""
        queues = (queue for device in entry.devices for queue in self.queues.of(entry.channel, device))
        return self._can_use(siblings, entry) and any(queue.state != "open" for queue in queues)

    def drain(self, deadline: timedelta) -> bool:
        """Begin no further try and wait for those under way; false if some had no answer in time.

        Every lane that ends calls this, one after another: the deadline counts from the first call.
        """
        return asyncio.run_coroutine_threadsafe(self._drain(deadline), self._loop).result(deadline.total_seconds() + 30)

    def close(self) -> None:
        """Close connections and the loop; what is under way stays an open intent."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self.appender.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _connect(self) -> None:
        for channel in self.queues.channels:
            await channel.connect()
            self._spawn(self._warm(channel))

    async def _warm(self, channel: Channel) -> None:
        """Open a connection ahead of the first message; a provider that is down now is no reason not to start."""
        found = await channel.check()
        if not found.ok:
            _logger.warning("provider_check_failed", provider=channel.name, detail=found.detail)

    async def _close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for queue in self.queues:
            await queue.rate.close()
        for channel in self.queues.channels:
            await channel.close()

    async def _drain(self, deadline: timedelta) -> bool:
        self._draining = True
        if self._drain_until is None:
            self._drain_until = time.monotonic() + deadline.total_seconds()
        while self._tasks and self.failure is None and (left := self._drain_until - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        return not self._tasks

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
        else:
            self._tasks.add(task := self._loop.create_task(work))
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        """Nothing that fails in the loop goes unheard: the flow ends and resumes."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failure = self.failure or error
            _logger.error("sender_failed", stage=self._parts.station, exc_info=error)

    def _take(self, tasks: list[SendTask]) -> None:
        now = self._parts.now_ms()
        for task in tasks:
            self._resume(task, now)
        self._pump_all()

    def _resume(self, task: SendTask, now: int) -> None:
        """What the start finds of a task (RULES 4)."""
        if task.preset is not None:
            self._spawn(self._end([(task, Planned(*task.preset))]))
            return
        verb = resume(task.history, task.emission.priority) if task.known else "send"
        if verb == "over":
            self._tell(task)
        elif verb == "unknown":
            self._spawn(self._end([(task, Planned(UNKNOWN, INTERRUPTED))]))
        elif verb == "spent":
            self._hear(task, Failed(INTERRUPTED, retryable=False, ambiguous=True), now)
        elif verb == "wait":
            self._retries.wait(task, (task.history.retry_at or 0) - now)
        else:
            self._enqueue(task, now)

    def _retry(self, task: SendTask) -> None:
        self._enqueue(task, self._parts.now_ms())
        self._pump_all()

    def _enqueue(self, task: SendTask, now: int) -> None:
        queue = self.queues.choose(task)
        if queue is None or task.device.address is None:
            reason = "no provider" if queue is None else "no address"
            self._spawn(self._end([(task, self._failed(task, reason, now))]))
            return
        queue.put(task, now)

    def _pump_all(self) -> None:
        for queue in self.queues:
            self._pump(queue)

    def _made(self, queue: ProviderQueue) -> None:
        queue.rate.more = partial(self._pump, queue)

    def _pump(self, queue: ProviderQueue) -> None:
        """Start as many tries as the provider's bounds allow, the most urgent first."""
        queue.pumped_soon = False
        now = self._parts.now_ms()
        if not self._draining and (batch := queue.take(_BATCH_MAX, now)):
            for behind, part in enumerate(one_then_many(batch)):
                self._spawn(self._dispatch(queue, part, behind=behind))
            self._pump_soon(queue, when=len(batch) == _BATCH_MAX)
        if queue.to_be_looked_at and not self._draining:
            self._attend(queue, now)

    def _pump_soon(self, queue: ProviderQueue, *, when: bool) -> None:
        if when and not queue.pumped_soon:
            queue.pumped_soon = True
            self._loop.call_soon(self._pump, queue)  # behind what else was answered, or came, by now

    def _attend(self, queue: ProviderQueue, now: int) -> None:
        """Let go what leaves a provider that is away, P0 that waits for a retry too, and look again soon (RULES 4)."""
        for task in self._retries.take_p0(lambda each: self.queues.last(each) is queue) if queue.moves("P0") else ():
            self._loop.call_soon(self._retry, task)  # which also asks the provider that it comes to
        if (queue.holds_back or queue.trouble_since is not None) and (
            left := leaving(queue, now, self._failed, self._can_go_on, self._parts.last_look, self._elsewhere)
        ):
            self._spawn(self._end(left))
        if not queue.attended:
            queue.attended = True
            self._loop.call_later(queue.look_in_s(), self._look_again, queue)

    def _elsewhere(self, task: SendTask) -> bool:
        """Let it wait for another provider of its channel, if one is not away or lacks a probe."""
        queue = self.queues.choose(task)
        if queue is None or queue is task.queue:
            return False
        queue.put(task, self._parts.now_ms())
        self._loop.call_soon(self._pump, queue)
        return True

    def _look_again(self, queue: ProviderQueue) -> None:
        queue.attended = False
        self._pump(queue)

    async def _dispatch(self, queue: ProviderQueue, batch: list[SendTask], behind: int) -> None:
        """The checks, the intents, the checks again, the sends. What is `behind` lets the loop come round first."""
        if behind:
            await asyncio.sleep(0)
        last_look, now = self._parts.last_look, self._parts.now_ms()
        looked = last_look.looked(now)
        ending, ready = self._checked(queue, batch, now)
        intents = [(task.siblings.partition, intent_record(task, queue.bounds.channel, now)) for task, _ in ready]
        await self.attempts.append(intents, urgent=not batch[0].of_many)
        now = self._parts.now_ms()  # the log may have been away for minutes
        nothing_changed, alike = last_look.nothing_since(looked, now), AlikeLook(last_look, now)
        queue.share.first(now, sum(not task.history.tries for task, _ in ready))
        for (task, content), (_, record) in zip(ready, intents, strict=True):
            task.history.apply(record)
            goes_on = nothing_changed and alike.goes_on(task)
            if not goes_on and (planned := last_look.again(task, now, nothing_changed=nothing_changed)) is not None:
                queue.done(task)
                ending.append((task, planned))
            else:
                self._spawn(self._send(queue, task, content))
        await self._end(ending)
        self._pump(queue)

    def _checked(
        self, queue: ProviderQueue, batch: list[SendTask], now: int
    ) -> tuple[list[tuple[SendTask, Planned]], list[tuple[SendTask, Content]]]:
        """Which of the batch end without a try, and what the others say."""
        ending: list[tuple[SendTask, Planned]] = []
        ready: list[tuple[SendTask, Content]] = []
        parts, alike = self._parts, AlikeLook(self._parts.last_look, now)
        for task in batch:
            device = task.device
            found = alike.message_or_end(task, self._failed, parts.links, parts.texts)
            if isinstance(found, Planned):
                queue.done(task)
                ending.append((task, found))
            elif task.device is not device and queue not in self.queues.of(task.channel, task.device):  # another phone
                queue.done(task)
                self._retry(task)
            else:
                ready.append((task, found))
        return ending, ready

    async def _send(self, queue: ProviderQueue, task: SendTask, content: Content) -> None:
        fence = self._parts.fence
        if fence is not None and not fence.is_fresh():  # stopped since the intent was appended, perhaps for long
            await asyncio.to_thread(fence.check)
            if (planned := self._parts.last_look.again(task, self._parts.now_ms())) is not None:
                queue.done(task)
                await self._end([(task, planned)])
                self._pump(queue)
                return
        self._hear(task, *await self._call(queue, task, content))
        queue.done(task)
        self._pump_soon(queue, when=queue.has_room)  # else the answers' storing lets the next ones go, in a group

    def _hear(self, task: SendTask, result: Result, now: int) -> None:
        self._answers.append((task, result, now))
        if not self._storing:
            self._storing = True
            self._spawn(self._store_answers())

    async def _store_answers(self) -> None:
        """Store what was answered in groups, then let each answer have its consequence."""
        while self._answers:
            answers, self._answers = self._answers, []
            self._call.count()
            judged = [(task, *self._judge(task, result, at)) for task, result, at in answers]
            records = [
                (task.siblings.partition, record)
                for task, answer, planned in judged
                for record in answered_records(task, answer, planned)
            ]
            await self.attempts.append(records)
            for task, answer, planned in judged:
                task.history.apply(answer)
                self._follow(task, planned, answer.at)
            self._pump_all()
        self._storing = False

    def _judge(self, task: SendTask, result: Result, now: int) -> tuple[Attempt, Planned]:
        """The answer as it is stored, and what follows from it."""
        planned = self._answered(task, result, now)
        task.ending = planned.outcome
        return answer_record(task, result, planned, now), planned

    def _failed(self, task: SendTask, reason: str, now: int, can_use: CanUse | None = None) -> Planned:
        """The end of a task that failed for good: the next channel, or DEAD_LETTER."""
        end = task.siblings.failed_end(task, now=now, usable=partial(can_use or self._can_use, task.siblings))
        task.ending = end.outcome
        return Planned(end.outcome, reason, end.fell_back_to)

    async def _end(self, ended: list[tuple[SendTask, Planned]]) -> None:
        """Store ends that no answer tells, then tell them."""
        if not ended:
            return
        now = self._parts.now_ms()
        closed = [(task.siblings.partition, end) for task, plan in ended if (end := closed_record(task, plan, now))]
        await self.attempts.append(closed)
        for task, plan in ended:
            self._follow(task, plan, now)

    def _follow(self, task: SendTask, planned: Planned, now: int) -> None:
        """What a stored answer or end brings about."""
        if planned.retry_at is not None:
            self._retries.wait(task, planned.retry_at - self._parts.now_ms())
            return
        if planned.outcome != DELIVERED and (record := closed_record(task, planned, now)) is not None:
            task.history.apply(record)
        self._tell(task)

    def _tell(self, task: SendTask) -> None:
        """The end is durable: tell the listener, and go on with the channel fallen back to."""
        task.ending = task.history.outcome
        fallback = task.history.fell_back_to
        tasks = task.siblings.next_channel(fallback).make_tasks() if fallback and not task.siblings.advanced else []
        task.siblings.listener.ended(task, len(tasks))
        if tasks:
            self._take(tasks)
