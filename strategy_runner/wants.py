"""Which topics a group of strategies gets, and what becomes of each when the group is too slow.

The same answer live, where it decides what is sent, and in a replay, where it decides what was. It
knows names and patterns, no events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

import msgspec

from strategy_runner.config import StrategyConfig
from tickd.topics import Pattern, Selection, Topic

__all__ = ["Wants", "check_groups", "feed_of"]


def feed_of(config: StrategyConfig) -> str:
    """Return the name of the feed; strategies with the same one share a process."""
    # A group and a strategy of the same name are two things.
    return f"group-{config.group}" if config.group else config.name


def check_groups(strategies: Iterable[StrategyConfig]) -> None:
    """Raises ValueError: strategies would share a process, and do not all say so."""
    first: dict[str, StrategyConfig] = {}
    for config in strategies:
        other = first.setdefault(feed_of(config), config)
        if other.group != config.group:
            raise ValueError(
                f"strategies {other.name} and {config.name} would have the same files:"
                f" {feed_of(config)}; rename the strategy or the group"
            )
        if other.isolation != config.isolation:
            raise ValueError(
                f"group {config.group}: {other.name} has isolation {other.isolation!r},"
                f" {config.name} {config.isolation!r}; they share a process or the daemon"
            )


@final
class Wants:
    """What a group gets, and what becomes of each topic when it is too slow."""

    def __init__(
        self, strategies: Sequence[StrategyConfig], topic_name: Callable[[int], str]
    ) -> None:
        self._topic_name = topic_name
        self._strategies = [
            (
                config,
                Selection(config.topics),
                [(Pattern.parse(text), policy) for text, policy in config.policies.items()],
            )
            for config in strategies
        ]
        self._patterns = [
            pattern for _, selection, _ in self._strategies for pattern in selection.patterns
        ]

    def resolve(self, number: int) -> tuple[str, str | None]:
        """Return a topic's name and policy; None: not wanted. The first strategy decides."""
        name = self._topic_name(number)
        topic = Topic.parse(name)
        if topic.channel == "order":
            return name, "disconnect"  # news of an order must not be lost
        for config, selection, policies in self._strategies:
            if selection.matches(topic):
                own = (policy for pattern, policy in policies if pattern.matches(topic))
                return name, next(own, config.when_full)
        return name, "conflate" if topic.channel == "clock" else None

    def instrument(self, definition: bytes) -> bool:
        """Whether a topic of this instrument may be wanted."""
        fields = msgspec.json.decode(definition)
        topic = Topic("*", str(fields["venue"]), str(fields["symbol"]))
        return any(pattern._replace(channel="*").matches(topic) for pattern in self._patterns)
