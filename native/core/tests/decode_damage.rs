//! Damaged bytes of every venue and record type: at most a refusal, never a panic, and the good frames around stay whole.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

mod support;

use proptest::prelude::*;
use support::{decode, Stream};
use tickd_core::decode::Decoder;
use tickd_core::event::Kind;
use tickd_core::record::RecordType;

const OKX: [&str; 6] = [
    r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[["3.1","1.5","0","3"]],"bids":[["3","0.75","0","2"]],"ts":"1800000000000","checksum":0,"prevSeqId":-1,"seqId":1000}]}"#,
    r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],"bids":[["3","1.25","0","3"]],"ts":"1800000000100","prevSeqId":1000,"seqId":1004}]}"#,
    r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["3.1","1.5","0","3"]],"bids":[["3","0.75","0","2"]],"ts":"1800000000010","seqId":1000}]}"#,
    r#"{"arg":{"channel":"funding-rate","instId":"BTC-USDT"},"data":[{"fundingRate":"0.0001","fundingTime":"1800000000000","instId":"BTC-USDT","ts":"1800000000000"}]}"#,
    r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#,
    "pong",
];
const CONTROLS: [&str; 4] = [
    r#"{"kind":"connect","connection":2,"venue":"okx","url":"","streams":["books:BTC-USDT"]}"#,
    r#"{"kind":"disconnect","connection":2,"reason":"gone"}"#,
    r#"{"kind":"instrument","venue":"okx","symbol":"ETH-USDT","asset_class":"spot","price_scale":2,"size_scale":3,"tick":1,"lot":1,"multiplier":"1"}"#,
    r#"{"kind":"stop","node":1}"#,
];
const REST: &str = "GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000 200\n{\"lastUpdateId\":12,\"E\":1,\"T\":1,\"bids\":[[\"1.50\",\"2.000\"]],\"asks\":[[\"1.60\",\"3.000\"]]}";

type Edit = (prop::sample::Index, u8, u8);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6)
}

fn damaged(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut payload = text.as_bytes().to_vec();
    for (at, byte, how) in edits {
        let at = at.index(payload.len().max(1));
        match how {
            0 if at < payload.len() => payload[at] = *byte,
            1 => payload.insert(at, *byte),
            2 if at < payload.len() => {
                payload.remove(at);
            }
            _ => payload.truncate(at),
        }
    }
    payload
}

fn okx_trade(id: u64) -> String {
    format!(
        r#"{{"arg":{{"channel":"trades-all","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","tradeId":"{id}","px":"3.1","sz":"1","side":"buy","ts":"1800000000000"}}]}}"#
    )
}

/// Decodes `payload` between two good trades of OKX on connection 1 and two of USD-M on connection 3.
fn offer(connection: u32, kind: RecordType, payload: Vec<u8>) -> std::result::Result<(), TestCaseError> {
    let mut stream = Stream::new();
    stream.instrument("okx", "BTC-USDT", 2, 3);
    stream.connect(1, "okx");
    stream.connect(3, "binance-usdm");
    stream.text(1, &okx_trade(7));
    stream.trade(3, 7);
    let number = stream.push(connection, kind, payload);
    stream.text(1, &okx_trade(8));
    stream.trade(3, 8);
    let mut decoder = Decoder::new();
    let events = decode(&mut decoder, &stream.records);
    let refused = decoder.report_mut().take_refusals();
    prop_assert!(refused.iter().all(|refusal| refusal.frame_no == number));
    prop_assert!(refused.is_empty() || events.iter().all(|event| event.frame_no() != number));
    let after = |event: &&tickd_core::event::Event| event.frame_no() > number && event.kind == Kind::Trade as u8;
    prop_assert_eq!(events.iter().filter(after).count(), 2);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_okx_message_costs_nothing_else(which in 0..OKX.len(), edits in edits()) {
        offer(1, RecordType::Text, damaged(OKX[which], &edits))?;
    }

    #[test]
    fn a_damaged_rest_reply_costs_nothing_else(edits in edits()) {
        offer(3, RecordType::Rest, damaged(REST, &edits))?;
    }

    #[test]
    fn any_bytes_are_harmless(connection in 0u32..5, bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
        let kind = [RecordType::Text, RecordType::Binary, RecordType::Rest][kind as usize];
        offer(connection, kind, bytes)?;
    }

    /// tickd's own records: damage on the disk is found by checksums, but the decoder must not trust that.
    #[test]
    fn a_damaged_control_record_never_panics(which in 0..CONTROLS.len(), edits in edits(), checkpoint in any::<bool>()) {
        let kind = if checkpoint { RecordType::Checkpoint } else { RecordType::Control };
        let mut stream = Stream::new();
        stream.connect(2, "okx");
        stream.push(0, kind, damaged(CONTROLS[which], &edits));
        let mut decoder = Decoder::new();
        decode(&mut decoder, &stream.records);
        let state = decoder.state();
        // Taken or refused: a state that is refused leaves the decoder as it was.
        let mut other = Decoder::new();
        let before = other.state();
        let taken = other.restore(&damaged(std::str::from_utf8(&state).unwrap(), &edits));
        prop_assert!(taken.is_ok() || other.state() == before);
    }
}
