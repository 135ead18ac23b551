//! Which connection belongs to which venue, and when it last said something.

use serde::{Deserialize, Serialize};

/// One connection that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) connection: u32,
    pub(super) venue: String,
    pub(super) last_recv_ns: i64,
    /// It brings what is missing, not what is new.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) backfill: bool,
    /// Venue number of this process; `None` for a venue this build does not decode.
    #[serde(skip)]
    pub(super) number: Option<u16>,
}

/// The connections of a node: a handful, so a scan with a memory of the last hit beats a map.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) open: Vec<Connection>,
    hit: usize,
}

impl Connections {
    /// Notes that `connection` said something and returns its venue's number.
    #[inline]
    pub(super) fn seen(&mut self, connection: u32, recv_ns: i64) -> Option<u16> {
        if self
            .open
            .get(self.hit)
            .is_none_or(|known| known.connection != connection)
        {
            self.hit = self.open.iter().position(|known| known.connection == connection)?;
        }
        let known = self.open.get_mut(self.hit)?;
        known.last_recv_ns = recv_ns;
        known.number
    }

    /// Whether the connection that was seen last brings what is missing.
    #[inline]
    pub(super) fn hit_is_backfill(&self) -> bool {
        self.open.get(self.hit).is_some_and(|known| known.backfill)
    }

    pub(super) fn open(&mut self, connection: Connection) {
        self.open.retain(|known| known.connection != connection.connection);
        self.open.push(connection);
    }

    /// Forgets a connection; its last receive stamp.
    pub(super) fn close(&mut self, connection: u32) -> Option<i64> {
        let at = self.open.iter().position(|known| known.connection == connection)?;
        Some(self.open.remove(at).last_recv_ns)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
