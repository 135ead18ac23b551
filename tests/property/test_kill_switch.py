"""No sequence of calls opens the halt word but `arm`, then `confirm` of that very token in time.

Method: hypothesis calls whatever a program, a person, a signal or a restart can, in any order, over
a real word and a real file. A model of six lines says when the word may be open.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from risk.config import RiskConfig
from risk.errors import ArmError
from risk.kill import KillSwitch
from risk.kill_hooks import Hooks
from risk.latch import LATCH, Scope, at_start, encode
from tickd.native import HaltWord, NativeError
from tickd.testing.clock import ManualClock

TOKEN_S = 60.0
# What leads to an open word is drawn often: the rest of the calls matters behind it.
NAMES = st.sampled_from(["ada", "ada", "ada", "ada", "ada", " "])
SCOPES: st.SearchStrategy[tuple[Scope, str]] = st.sampled_from(
    [("global", ""), ("global", ""), ("global", ""), ("venue", "okx"), ("account", "a")]
)


class AnySequence(RuleBasedStateMachine):
    """The model: `good` is the token that arms everything now; `is_open` what it led to."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.blocked: list[str] = []
        self.tokens: list[str] = ["", "00000000"]
        self.life()

    def life(self) -> None:
        """A process begins, whatever the one before left."""
        self.good, self.good_until_ns, self.is_open = "", 0, False
        self.word = HaltWord()
        path = Path(self.folder.name)
        first, _ = at_start(path, config="c", wall_ns=1, mono_ns=1)
        self.word.start(path, encode(first), panic_after_ms=60_000)
        hooks = Hooks(record=lambda _: None, blockers=lambda _scope, _key: list(self.blocked))
        self.switch = KillSwitch(
            RiskConfig(arm_token_s=TOKEN_S),
            word=self.word,
            first=first,
            clock=self.clock,
            hooks=hooks,
        )

    def halted(self) -> None:
        self.good, self.is_open = "", False

    @rule(where=SCOPES)
    def trip(self, where: tuple[Scope, str]) -> None:
        self.switch.trip("a test", scope=where[0], key=where[1])
        self.good = ""
        if where[0] == "global":
            self.halted()

    @rule(where=SCOPES)
    def trigger(self, where: tuple[Scope, str]) -> None:
        if self.switch.trigger("a rule", scope=where[0], key=where[1], name="rule"):
            self.good = ""
            if where[0] == "global":
                self.halted()

    @rule()
    def trip_natively(self) -> None:
        self.word.trip("a signal", "test")
        self.halted()

    @rule()
    def take_the_bell(self) -> None:
        """Whether or not it rang yet: what was tripped is cancelled and told."""
        self.switch.on_bell()

    @rule(operator=NAMES, reason=NAMES, where=SCOPES)
    def arm(self, operator: str, reason: str, where: tuple[Scope, str]) -> None:
        try:
            offer = self.switch.arm(operator, reason, scope=where[0], key=where[1])
        except ArmError:
            return
        assert operator.strip()
        assert reason.strip()
        assert not self.blocked
        self.tokens.append(offer.token)
        self.good = offer.token if where[0] == "global" else ""
        self.good_until_ns = self.clock.mono_ns() + int(TOKEN_S * 1e9)

    @rule(seconds=st.sampled_from([0.0, 59.0, 60.0]), blocked=st.booleans(), trip=st.booleans())
    def arm_and_confirm(self, seconds: float, blocked: bool, trip: bool) -> None:
        """The two steps with something between them, or nothing."""
        self.something_blocks([])
        self.arm("ada", "checked", ("global", ""))
        self.time_goes_on(seconds)
        if trip:
            self.trip_natively()
        self.something_blocks(["2 orders are unknown"] if blocked else [])
        self.confirm(0, newest=True)
        self.something_blocks([])

    @rule(pick=st.integers(0, 1 << 16), newest=st.booleans())
    def confirm(self, pick: int, newest: bool) -> None:
        token = self.tokens[-1] if newest else self.tokens[pick % len(self.tokens)]
        in_time = self.clock.mono_ns() < self.good_until_ns
        allowed = bool(self.good) and token == self.good and in_time and not self.blocked
        try:
            self.runner.run(self.switch.confirm(token))
        except ArmError:
            pass
        else:
            self.is_open = self.is_open or allowed
        self.good = ""

    @rule(seconds=st.sampled_from([1.0, 59.0, 61.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.clock.move(int(seconds * 1e9))

    @rule(step=st.sampled_from([-86_400, 86_400]))
    def the_wall_clock_steps(self, step: int) -> None:
        self.clock.step_wall(step * 1_000_000_000)

    @rule(blocked=st.sampled_from([[], [], [], ["2 orders are unknown"]]))
    def something_blocks(self, blocked: list[str]) -> None:
        self.blocked = blocked

    @rule()
    def look(self) -> None:
        self.switch.draw()

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        if clean:
            self.switch.stop()
        else:
            self.word.stop()  # its threads end as with their process; what they wrote stays
        self.life()

    @rule(at=st.floats(0, 1))
    def the_file_is_cut(self, at: float) -> None:
        path = Path(self.folder.name) / LATCH
        content = path.read_bytes() if path.exists() else b""
        path.write_bytes(content[: int(len(content) * at)])

    @precondition(lambda self: self.is_open)
    @rule()
    def a_key_is_not_given_again(self) -> None:
        with pytest.raises(NativeError, match="somebody else"):
            self.word.arming()

    @invariant()
    def it_is_open_only_by_a_person(self) -> None:
        assert self.word.is_halted is not self.is_open

    def teardown(self) -> None:
        self.word.stop()
        self.runner.close()
        self.folder.cleanup()


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
