//! Records for tests of the decoder: a stream is a list, numbered and stamped as it grows.

use tickd_core::decode::Decoder;
use tickd_core::event::Event;
use tickd_core::record::{Record, RecordType};

/// One record with its payload owned.
#[derive(Debug, Clone)]
pub struct Owned {
    pub frame_no: u64,
    pub recv_ns: i64,
    pub connection: u32,
    pub kind: RecordType,
    pub payload: Vec<u8>,
}

/// A growing run of records.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    pub records: Vec<Owned>,
}

impl Stream {
    /// USD-M, spot and COIN-M instruments are defined; nothing is connected.
    pub fn new() -> Self {
        let mut stream = Stream::default();
        for (venue, symbol, price_scale, size_scale) in [
            ("binance-usdm", "BTCUSDT", 2, 3),
            ("binance-usdm", "ETHUSDT", 2, 3),
            ("binance-spot", "BTCUSDT", 2, 8),
            ("binance-coinm", "BTCUSD_PERP", 1, 0),
        ] {
            stream.instrument(venue, symbol, price_scale, size_scale);
        }
        stream
    }

    pub fn push(&mut self, connection: u32, kind: RecordType, payload: impl Into<Vec<u8>>) -> u64 {
        let frame_no = self.records.last().map_or(1, |last| last.frame_no + 1);
        let recv_ns = 1_700_000_000_000_000_000 + frame_no as i64 * 1_000_000;
        self.records.push(Owned {
            frame_no,
            recv_ns,
            connection,
            kind,
            payload: payload.into(),
        });
        frame_no
    }

    pub fn control(&mut self, text: &str) -> u64 {
        self.push(0, RecordType::Control, text)
    }

    pub fn instrument(&mut self, venue: &str, symbol: &str, price_scale: u8, size_scale: u8) {
        self.control(&format!(
            r#"{{"kind":"instrument","venue":"{venue}","symbol":"{symbol}","asset_class":"x","price_scale":{price_scale},"size_scale":{size_scale},"tick":1,"lot":1,"multiplier":"1"}}"#
        ));
    }

    pub fn connect(&mut self, connection: u32, venue: &str) {
        self.control(&format!(
            r#"{{"kind":"connect","connection":{connection},"venue":"{venue}","url":"ws://x","streams":[]}}"#
        ));
    }

    pub fn disconnect(&mut self, connection: u32) -> u64 {
        self.control(&format!(
            r#"{{"kind":"disconnect","connection":{connection},"reason":"test"}}"#
        ))
    }

    pub fn text(&mut self, connection: u32, payload: &str) -> u64 {
        self.push(connection, RecordType::Text, payload)
    }

    /// A USD-M trade.
    pub fn trade(&mut self, connection: u32, id: u64) -> u64 {
        self.text(connection, &trade(id))
    }

    /// A USD-M depth change of one level.
    pub fn depth(&mut self, connection: u32, first: u64, last: u64, previous: u64) -> u64 {
        self.text(connection, &depth(first, last, previous))
    }

    /// A USD-M REST book.
    pub fn snapshot(&mut self, connection: u32, last: u64) -> u64 {
        let reply = format!(
            "GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000 200\n{{\"lastUpdateId\":{last},\"E\":1700000000000,\"T\":1700000000000,\"bids\":[[\"100.10\",\"2.5\"]],\"asks\":[]}}"
        );
        self.push(connection, RecordType::Rest, reply)
    }
}

pub fn trade(id: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1700000000001,"T":1700000000000,"s":"BTCUSDT","t":{id},"p":"61800.30","q":"0.006","X":"MARKET","m":false}}}}"#
    )
}

pub fn depth(first: u64, last: u64, previous: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@depth@0ms","data":{{"e":"depthUpdate","E":1700000000001,"T":1700000000000,"s":"BTCUSDT","U":{first},"u":{last},"pu":{previous},"b":[["58710.20","0.014"]],"a":[]}}}}"#
    )
}

impl Owned {
    pub fn record(&self) -> Record<'_> {
        Record {
            frame_no: self.frame_no,
            recv_ns: self.recv_ns,
            mono_ns: self.recv_ns,
            connection: self.connection,
            kind: self.kind,
            payload: &self.payload,
        }
    }
}

/// The events of `records` in order of their numbers, decoded in one burst.
pub fn decode(decoder: &mut Decoder, records: &[Owned]) -> Vec<Event> {
    for record in records {
        decoder.push(&record.record());
    }
    let mut events = decoder.finish().events;
    events.sort_by_key(|event| event.seq);
    events
}
