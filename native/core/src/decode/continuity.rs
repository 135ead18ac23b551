//! Continuity of one channel of one instrument: which leg owns it, what is a repeat, what is missing.
//!
//! A chain sees ids, connections and receive times, and says of each message: emit or drop, and whether something is missing
//! before it. It knows no venue and no event. Two legs bring each message once, in whatever order (`tests/legs.rs`).

use serde::{Deserialize, Serialize};

use crate::event::{GapCause, ID_UNDEF};

/// Missing ranges remembered per chain, so that a late arrival inside one is not taken for a repeat.
pub const MISSING_RANGES_MAX: usize = 64;
/// Counted messages remembered per chain: a repeat is one of them, anything else is new.
pub const RECENT_MAX: usize = 16;
/// A gapless id this far below the last one is a new numbering, not a repeat of another leg.
const RESET_GAPLESS: u64 = 1 << 20;
/// The same for ids that jump (update ids, times in ns).
const RESET_RISING: u64 = 1 << 36;

/// How the ids of a channel are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// Consecutive: a hole is a loss.
    Gapless,
    /// Only rising (or times): holes mean nothing.
    Rising,
    /// Each message names its predecessor; the synchroniser proves the chain.
    Linked,
    /// A running total of volume stands in for ids: a message covers what it added. The bits from `COUNT_BITS` up name the
    /// count (a trading session), which begins at 0 each time.
    Counted,
}

/// Bits of a `Counted` place below the number of its count: 10^12 lots are more than a market trades in a year.
pub const COUNT_BITS: u32 = 40;
/// The total in a `Counted` place.
pub const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// The place of a message in its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Last id in it.
    pub last: u64,
    /// The last id before it, where the numbering tells: nothing is missing in front of the message when a chain has come
    /// that far.
    pub link: Option<u64>,
    /// The venue's time; tells repeats of `Counted` places, which may come to the same total twice.
    pub ts_event: i64,
}

/// What is missing before a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Why.
    pub cause: GapCause,
    /// When it began, ns.
    pub since_ns: i64,
    /// First and last missing id; `None` where unknown or where nothing is missing.
    pub range: Option<(u64, u64)>,
    /// How many are missing; `None` where unknown.
    pub missing: Option<u64>,
}

impl Hole {
    /// The hole in the venue's own words: totals without the number of their count.
    pub(super) fn told(self, numbering: Numbering) -> Self {
        match numbering {
            Numbering::Counted => Hole {
                range: self.range.map(|(first, last)| (first & COUNT_MASK, last & COUNT_MASK)),
                ..self
            },
            _ => self,
        }
    }
}

/// The verdict on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// New, nothing missing before it.
    Emit,
    /// New, although the chain has passed its place: what was missing may have arrived.
    Late,
    /// New, and something is missing before it.
    EmitAfter(Hole),
    /// Another leg has brought it already.
    Duplicate,
}

/// A loss of every leg, open until the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Down {
    since_ns: i64,
    cause: i64,
}

/// The state of one chain; everything in it belongs to the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The connection that brought the last message; 0 = none alive.
    owner: u32,
    /// Another live connection that brings the same stream; 0 = none.
    standby: u32,
    /// How far the standby leg has come itself.
    standby_last: u64,
    last: Option<u64>,
    last_recv_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    down: Option<Down>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    missing: Vec<(u64, u64)>,
    /// Ids the lost leg brought and the owner, who was behind it, will bring again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    owed: Option<(u64, u64)>,
    /// Counted chains: total and time of the last messages, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    recent: Vec<(u64, i64)>,
}

impl Chain {
    /// Whether it has never seen a message.
    pub const fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// Whether it was given up on purpose.
    pub fn is_shed(&self) -> bool {
        self.down.is_some_and(|down| down.cause == GapCause::Shed as i64)
    }

    /// Whether a live connection other than `connection` owns it.
    pub const fn belongs_to_another(&self, connection: u32) -> bool {
        self.owner != 0 && self.owner != connection
    }

    /// Judges the message at `place` that `connection` brought at `recv_ns`.
    #[inline]
    pub fn judge(&mut self, numbering: Numbering, connection: u32, place: Place, recv_ns: i64) -> Judgement {
        let judgement = self.decide(numbering, connection, place, recv_ns);
        if numbering == Numbering::Counted && judgement != Judgement::Duplicate {
            if self.recent.len() == RECENT_MAX {
                self.recent.remove(0);
            }
            self.recent.push((place.last, place.ts_event));
        }
        judgement
    }

    #[inline]
    fn decide(&mut self, numbering: Numbering, connection: u32, place: Place, recv_ns: i64) -> Judgement {
        let Some(before) = self.last else {
            self.take(connection, place.last, recv_ns);
            return Judgement::Emit;
        };
        let joined = place.link.is_none_or(|link| link <= before);
        // The whole hot path: the owner goes on where it stood. A chain with an owner has no open loss.
        if connection == self.owner && place.last > before && joined {
            self.last = Some(place.last);
            self.last_recv_ns = recv_ns;
            return Judgement::Emit;
        }
        if place.last > before {
            return self.advance(numbering, connection, place, before, recv_ns);
        }
        self.repeat(numbering, connection, place, before, recv_ns)
    }

    /// A snapshot in the stream: whatever was before, the chain goes on from it.
    pub fn adopt(&mut self, connection: u32, last: u64, recv_ns: i64) -> Option<Hole> {
        let hole = self.open_hole();
        self.take(connection, last, recv_ns);
        hole
    }

    /// `connection` is lost, its last frame came at `since_ns`. True when no live leg is left.
    pub fn lose(&mut self, connection: u32, since_ns: i64, cause: GapCause) -> bool {
        if self.standby == connection {
            self.standby = 0;
        }
        if self.owner != connection {
            return false;
        }
        self.owner = std::mem::take(&mut self.standby);
        if self.owner != 0 {
            let last = self.last.unwrap_or(self.standby_last);
            self.owed = (self.standby_last < last).then_some((self.standby_last + 1, last));
            return false;
        }
        self.down = Some(Down {
            since_ns,
            cause: cause as i64,
        });
        true
    }

    /// `connection` carries the stream no more, by our own wish; the loss begins behind its last message. As `lose`.
    pub fn shed(&mut self, connection: u32) -> bool {
        self.lose(connection, self.last_recv_ns, GapCause::Shed)
    }

    /// Every connection counts as lost: frames are missing since `since_ns`. True when the chain was up until now.
    pub fn lose_all(&mut self, since_ns: i64, cause: GapCause) -> bool {
        if self.is_new() {
            return false;
        }
        let was_up = self.down.is_none();
        (self.owner, self.standby) = (0, 0);
        // A loss that is open already keeps its start, and its cause unless a weightier one explains it.
        let open = self.down.filter(|down| down.cause != GapCause::Disconnect as i64);
        let since_ns = self.down.map_or(since_ns, |down| down.since_ns);
        self.down = Some(open.unwrap_or(Down {
            since_ns,
            cause: cause as i64,
        }));
        was_up
    }

    fn take(&mut self, connection: u32, last: u64, recv_ns: i64) {
        if self.owner != connection {
            self.standby = self.owner;
            self.standby_last = self.last.unwrap_or(0);
            self.owner = connection;
            self.owed = None;
        }
        self.last = Some(last);
        self.last_recv_ns = recv_ns;
    }

    fn open_hole(&mut self) -> Option<Hole> {
        let down = self.down.take()?;
        Some(Hole {
            cause: cause(down.cause),
            since_ns: down.since_ns,
            range: None,
            missing: None,
        })
    }

    /// The message is new but not the owner's next one.
    #[cold]
    fn advance(&mut self, numbering: Numbering, connection: u32, place: Place, before: u64, recv_ns: i64) -> Judgement {
        let mut hole = self.open_hole();
        if let (Numbering::Counted, Some(link)) = (numbering, place.link) {
            if link >> COUNT_BITS > before >> COUNT_BITS {
                return self.next_count(connection, place.last, link, before, hole, recv_ns);
            }
        }
        match place.link {
            // Nothing is known of what stood in between: a loss stays a loss.
            None => {}
            // A loss of connections through which nothing was lost.
            Some(link) if link <= before => hole = None,
            Some(link) => {
                let range = (before + 1, link);
                self.remember(range);
                // A broken link is the synchroniser's to report, unless a lost connection explains it.
                let counts = matches!(numbering, Numbering::Gapless | Numbering::Counted);
                if hole.is_none() && counts {
                    hole = Some(self.unexplained());
                }
                if let Some(hole) = &mut hole {
                    hole.range = Some(range);
                    hole.missing = counts.then_some(link - before);
                }
            }
        }
        self.take(connection, place.last, recv_ns);
        hole.map_or(Judgement::Emit, Judgement::EmitAfter)
    }

    /// The first message of a new count. What the old one still brought after its last message nobody can tell: a loss
    /// that is open stays open-ended; without one only the beginning of the new count may be missing.
    fn next_count(
        &mut self,
        connection: u32,
        last: u64,
        link: u64,
        before: u64,
        open: Option<Hole>,
        recv_ns: i64,
    ) -> Judgement {
        let start = link & !COUNT_MASK;
        // Some counts go on over the change of session: then the total before this message is the last one known.
        let goes_on = link & COUNT_MASK == before & COUNT_MASK;
        let range = (link > start && !goes_on).then_some((start + 1, link));
        let hole = match (open, range) {
            (None, None) => None,
            (Some(open), range) => Some(Hole { range, ..open }),
            (None, Some((first, last))) => Some(Hole {
                range,
                missing: Some(last - first + 1),
                ..self.unexplained()
            }),
        };
        self.missing.clear();
        self.missing.extend(range);
        self.take(connection, last, recv_ns);
        hole.map_or(Judgement::Emit, Judgement::EmitAfter)
    }

    /// A total that is not above the last one: a late arrival, a repeat, or a count that began anew.
    ///
    /// Nothing is dropped on suspicion: a wrong total or time in one message would silence all good ones after it.
    fn recount(&mut self, connection: u32, place: Place, recv_ns: i64) -> Judgement {
        if self.fill(place.last) {
            return Judgement::Late;
        }
        if self.recent.contains(&(place.last, place.ts_event)) {
            return Judgement::Duplicate;
        }
        if self.belongs_to_another(connection) {
            self.standby_last = place.last;
            self.standby = connection;
            return Judgement::Duplicate;
        }
        self.missing.clear();
        let hole = self.open_hole().unwrap_or_else(|| self.unexplained());
        self.take(connection, place.last, recv_ns);
        Judgement::EmitAfter(hole)
    }

    /// The id is not above the last one: a repeat, a late arrival, or a new numbering.
    #[cold]
    fn repeat(&mut self, numbering: Numbering, connection: u32, place: Place, before: u64, recv_ns: i64) -> Judgement {
        if numbering == Numbering::Counted {
            return self.recount(connection, place, recv_ns);
        }
        let last = place.last;
        let far = if numbering == Numbering::Gapless {
            RESET_GAPLESS
        } else {
            RESET_RISING
        };
        if last != ID_UNDEF && before - last > far {
            self.missing.clear();
            let hole = self.open_hole().unwrap_or_else(|| self.unexplained());
            self.take(connection, last, recv_ns);
            return Judgement::EmitAfter(hole);
        }
        if last == ID_UNDEF && self.down.is_some() {
            // Messages without id and time cannot be compared: the first one ends the loss.
            let hole = self.open_hole();
            self.take(connection, last, recv_ns);
            return hole.map_or(Judgement::Emit, Judgement::EmitAfter);
        }
        let late = numbering != Numbering::Rising && self.fill(last);
        let owed = self.owed.is_some_and(|(first, to)| (first..=to).contains(&last));
        if connection == self.owner && owed && !late {
            return Judgement::Duplicate;
        }
        if connection == self.owner {
            self.last_recv_ns = recv_ns;
            // The venue's own reset of a linked numbering names the last id, and is followed.
            if numbering == Numbering::Linked && (place.link == Some(before) || self.standby == 0) {
                self.last = Some(last);
            }
            return Judgement::Late;
        }
        if self.owner != 0 {
            self.standby_last = if self.standby == connection {
                self.standby_last.max(last)
            } else {
                last
            };
            self.standby = connection;
        }
        if late || last == ID_UNDEF {
            return Judgement::Late;
        }
        Judgement::Duplicate
    }

    /// A hole that no lost connection explains.
    fn unexplained(&self) -> Hole {
        Hole {
            cause: GapCause::Sequence,
            since_ns: self.last_recv_ns,
            range: None,
            missing: None,
        }
    }

    fn remember(&mut self, range: (u64, u64)) {
        if self.missing.len() == MISSING_RANGES_MAX {
            self.missing.remove(0);
        }
        self.missing.push(range);
    }

    /// Takes `id` out of the missing ranges; whether it was in one.
    fn fill(&mut self, id: u64) -> bool {
        let Some(at) = self
            .missing
            .iter()
            .position(|(first, last)| (*first..=*last).contains(&id))
        else {
            return false;
        };
        let (first, last) = self.missing.remove(at);
        if id < last && self.missing.len() < MISSING_RANGES_MAX {
            self.missing.insert(at, (id + 1, last));
        }
        if id > first && self.missing.len() < MISSING_RANGES_MAX {
            self.missing.insert(at, (first, id - 1));
        }
        true
    }
}

fn cause(code: i64) -> GapCause {
    [
        GapCause::Disconnect,
        GapCause::Restart,
        GapCause::Sequence,
        GapCause::Disk,
        GapCause::Overflow,
        GapCause::Quarantine,
        GapCause::Clock,
        GapCause::Shed,
    ]
    .into_iter()
    .find(|cause| *cause as i64 == code)
    .unwrap_or(GapCause::Disconnect)
}
