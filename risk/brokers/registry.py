"""The brokers: one line each; a name finds its folder.

Joins a folder's `config.py` (its `[[accounts]]` table) to its `broker.py`; knows nothing else about
any of them. `broker.py`, which may import a library, is imported when an account is configured.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Union

from risk.brokers.absent import AbsentBroker
from risk.brokers.port import AccountSection, Broker, BrokerContext, BrokerKind
from tickd.errors import TickdError

__all__ = ["BROKER_NAMES", "AnyAccountSection", "find", "make", "name_of"]

BROKER_NAMES: Final[tuple[str, ...]] = ("paper", "binance", "shioaji")


if TYPE_CHECKING:
    AnyAccountSection = AccountSection
else:
    # The configuration's type: each table is read by the struct that has its broker as a tag.
    _SECTIONS = [import_module(f"risk.brokers.{name}.config").CONFIG for name in BROKER_NAMES]
    AnyAccountSection = Union[(*_SECTIONS,)]


def name_of(section: AccountSection) -> str:
    """The broker of an account."""
    return str(section.__struct_config__.tag)


def find(section: AccountSection) -> BrokerKind:
    """The broker of an account."""
    kind: BrokerKind = import_module(f"risk.brokers.{name_of(section)}.broker").BROKER
    return kind


def make(section: AccountSection, context: BrokerContext) -> Broker:
    """Return an account's broker; one that refuses everything where it cannot be made."""
    try:
        return find(section).make(section, context)
    except TickdError as error:
        return AbsentBroker(error)
