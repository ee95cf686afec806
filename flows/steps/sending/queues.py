"""The queues of all providers: which one a delivery waits in, and which goes on with it (RULES 4).

Some providers are many services behind one connector, as the push services of browsers are: each has a queue of its
own, with a breaker and a rate, made when it is first needed. Of a provider's services so many are remembered; beyond
that the one that was idle for longest is forgotten, and while all are busy the others share a queue.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

from connectors.metrics import BREAKER_STATE, DELIVERIES_IN_FLIGHT, DELIVERIES_WAITING
from flows.steps.sending.queue import ProviderBounds, ProviderQueue
from flows.steps.sending.task import SendTask
from operators.breaker import BreakerState
from state.model.addresses import ANY, Place
from state.model.delivery import DeviceAddress
from state.model.errors import ConfigurationError

SERVICES_MAX = 32
"""Of one provider."""
_LEVELS: dict[BreakerState, int] = {"closed": 0, "reduced": 1, "half_open": 2, "open": 3}


class _Provider:
    """The queue of a provider, and those of its services."""

    def __init__(self, bounds: ProviderBounds, made: Callable[[ProviderQueue], None]) -> None:
        self._bounds, self._made = bounds, made
        self._shared = ProviderQueue(bounds)
        self._services = OrderedDict[str, ProviderQueue]()
        self._shared.of_provider = self._size
        made(self._shared)
        name = bounds.channel.name
        DELIVERIES_IN_FLIGHT.labels(name).set_function(lambda: sum(each.in_flight for each in self.queues()))
        DELIVERIES_WAITING.labels(name).set_function(self._size)
        BREAKER_STATE.labels(name).set_function(lambda: max(_LEVELS[each.state] for each in self.queues()))

    @property
    def of_all(self) -> ProviderQueue | None:
        """That of all devices; None: its services have queues of their own."""
        return self._shared if self._bounds.service_of is None else None

    def queues(self) -> list[ProviderQueue]:
        """All of them; may be asked by any thread."""
        return [self._shared, *tuple(self._services.values())]

    def of(self, device: DeviceAddress) -> ProviderQueue:
        """That of the service that takes the device's address."""
        service_of = self._bounds.service_of
        service = service_of(device.address) if service_of is not None and device.address else ""
        if not service:
            return self._shared
        found = self._services.get(service) or self._make(service)
        if found is not self._shared:
            self._services.move_to_end(service)
        return found

    def _size(self) -> int:
        return sum(each.size for each in self.queues())

    def _make(self, service: str) -> ProviderQueue:
        if len(self._services) >= SERVICES_MAX:
            longest = next((name for name, queue in self._services.items() if queue.idle), None)
            if longest is None:
                return self._shared
            self._services.pop(longest).drop()
        self._services[service] = made = ProviderQueue(self._bounds, service)
        made.of_provider = self._size
        self._made(made)
        return made


class ProviderQueues:
    """Those of all providers. Where several serve a platform of a channel, the first goes first (RULES 4)."""

    def __init__(
        self,
        providers: Mapping[Place, Sequence[ProviderBounds]],
        made: Callable[[ProviderQueue], None] = lambda _queue: None,
    ) -> None:
        """`made` hears of each queue.

        :raises ConfigurationError: two connectors of one place have one name, so nothing tells them apart.
        """
        for (channel, _), bounds in providers.items():
            names = Counter(each.channel.name for each in bounds)
            if twice := [name for name, times in names.items() if times > 1]:
                raise ConfigurationError(f"providers of {channel}: {twice[0]} is the name of two of them; rename one")
        self._at = {place: [_Provider(each, made) for each in bounds] for place, bounds in providers.items()}
        self._alone: dict[tuple[str, str | None], ProviderQueue] = {
            place: queue for place, each in self._at.items() if len(each) == 1 and (queue := each[0].of_all) is not None
        }
        """Where there is no choice."""
        self.channels = tuple(each.channel for bounds in providers.values() for each in bounds)

    def __iter__(self) -> Iterator[ProviderQueue]:
        """All that there are now."""
        return iter([queue for providers in self._at.values() for each in providers for queue in each.queues()])

    @property
    def in_flight(self) -> int:
        """Tries under way."""
        return sum(queue.in_flight for queue in self)

    def away(self, now: int) -> tuple[str, ...]:
        """What no provider sends in time, as `push/android`, sorted; may be asked by any one thread (RULES 3.E)."""
        return tuple(
            sorted(
                "/".join(place)
                for place, providers in self._at.items()
                if all(queue.is_away(now) for each in providers for queue in each.queues())
            )
        )

    def of(self, channel: str, device: DeviceAddress) -> Sequence[ProviderQueue]:
        """Those that serve the device's platform; empty: nobody does."""
        platform = (device.platform or ANY).lower()
        serving = self._at.get((channel, platform)) or self._at.get((channel, ANY), [])
        return [each.of(device) for each in serving]

    def choose(self, task: SendTask) -> ProviderQueue | None:
        """The first whose breaker is not open and that nobody drains, from the one on that was tried last; else from
        the one on that did not give it up. One before it whose probe is due gets the task as that: it would never be
        asked whether it is back, as long as the next one works.

        Where there is none, one for which nothing waits and whose probe is due first: a provider for which nothing
        waits is never asked whether it is back.
        """
        if (alone := self._alone.get((task.siblings.channel, task.device.platform))) is not None:
            return alone
        if len(served := self.of(task.channel, task.device)) == 1:
            return served[0]
        queues, untried = self._from(task, task.history.moved_to), self._left(task)
        working = next((queue for queue in (*untried, *queues) if queue.takes(task) or queue.lacks(task)), None)
        unasked = (queue for queue in queues if not queue.size)
        return working or min(unasked, key=ProviderQueue.probe_in_ms, default=next(iter(untried), None))

    def last(self, task: SendTask) -> ProviderQueue | None:
        """That of the provider that was tried last."""
        return next(iter(self._left(task)), None)

    def after(self, task: SendTask) -> ProviderQueue | None:
        """The next that is not away, for a task that has used up its tries at the one before."""
        return next((queue for queue in self._left(task)[1:] if queue.state != "open"), None)

    def _left(self, task: SendTask) -> Sequence[ProviderQueue]:
        return self._from(task, task.history.provider)

    def _from(self, task: SendTask, provider: str | None) -> Sequence[ProviderQueue]:
        """From this provider on; all, where it is none of them."""
        queues = self.of(task.channel, task.device)
        names = [queue.bounds.channel.name for queue in queues]
        return queues[names.index(provider) :] if provider in names else queues
