//! The decoder's state as versioned JSON: the payload of a checkpoint record, the same bytes for the same state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::book::sync::Synchroniser;
use crate::decode::connections::{Connection, Connections};
use crate::decode::continuity::Chain;
use crate::decode::fill::Ledger;
use crate::decode::okx_checksum::TextBook;
use crate::decode::slot::CHAINED;
use crate::decode::{venues, Decoder};
use crate::error::{Error, Reason, Result};
use crate::instrument::Instrument;

/// Version of the state this build writes and reads.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    /// Its writer keeps the ledger of open gaps; absent in logs that are older than it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    ledger: bool,
    instruments: Vec<Definition>,
    connections: Vec<Connection>,
    slots: Vec<SlotState>,
}

#[derive(Serialize, Deserialize)]
struct Definition {
    /// The one its symbol means now.
    current: bool,
    #[serde(flatten)]
    instrument: Instrument,
}

#[derive(Serialize, Deserialize)]
struct SlotState {
    venue: String,
    symbol: String,
    chains: BTreeMap<String, Chain>,
    sync: Synchroniser,
    depth_recv_ns: i64,
    #[serde(skip_serializing_if = "Ledger::is_empty", default)]
    gaps: Ledger,
    /// Only while an old recording of OKX is read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    okx_texts: Option<TextBook>,
}

/// The state of `decoder`.
pub(super) fn save(decoder: &Decoder) -> Vec<u8> {
    let registry = &decoder.registry;
    let instruments = registry.all().into_iter().map(|instrument| Definition {
        current: registry.find(&instrument.venue, &instrument.symbol) == Some(instrument.id()),
        instrument: instrument.clone(),
    });
    let slots = decoder.slots.iter().enumerate().map(|(number, slot)| {
        let (venue, symbol) = decoder.stage.symbols.name(number as u32).unwrap_or_default();
        let chains = CHAINED.iter().zip(&slot.chains).filter(|(_, chain)| !chain.is_new());
        SlotState {
            venue: venues::decoder(venue).map_or("", |decoder| decoder.venue()).to_owned(),
            symbol: symbol.to_owned(),
            chains: chains
                .map(|(channel, chain)| (channel.name().to_owned(), chain.clone()))
                .collect(),
            sync: slot.sync.clone(),
            depth_recv_ns: slot.depth_recv_ns,
            gaps: slot.ledger.clone(),
            okx_texts: decoder.stage.okx_texts.get(number as u32).cloned(),
        }
    });
    let connections = decoder.connections.open.clone();
    let state = State {
        version: VERSION,
        ledger: !decoder.without_ledger,
        instruments: instruments.collect(),
        connections,
        slots: slots.collect(),
    };
    // Maps with text keys and plain numbers only: nothing in it can fail to serialise.
    serde_json::to_vec(&state).unwrap_or_default()
}

/// Gives `decoder` the state in `bytes`.
pub(super) fn load(decoder: &mut Decoder, bytes: &[u8]) -> Result<()> {
    let state: State = serde_json::from_slice(bytes)
        .map_err(|error| Error::new(Reason::Malformed, error.column().saturating_sub(1)))?;
    if state.version != VERSION {
        return Err(Error::new(Reason::Unsupported, 0));
    }
    let mut loaded = Decoder::new();
    for outdated in state.instruments.iter().filter(|definition| !definition.current) {
        loaded.registry.define(outdated.instrument.clone())?;
    }
    let mut current: BTreeMap<(&str, &str), &Instrument> = BTreeMap::new();
    for Definition { instrument, .. } in state.instruments.iter().filter(|definition| definition.current) {
        loaded.registry.define(instrument.clone())?;
        current.insert((&instrument.venue, &instrument.symbol), instrument);
    }
    for saved in state.slots {
        let instrument = current.get(&(saved.venue.as_str(), saved.symbol.as_str()));
        loaded.define((*instrument.ok_or(Error::new(Reason::Malformed, 0))?).clone())?;
        let slot = loaded.slots.last_mut().ok_or(Error::new(Reason::Unsupported, 0))?;
        (slot.sync, slot.depth_recv_ns) = (saved.sync, saved.depth_recv_ns);
        slot.ledger = saved.gaps;
        if let Some(texts) = saved.okx_texts {
            loaded.stage.okx_texts.insert(slot.number(), texts);
        }
        for (channel, place) in CHAINED.iter().zip(&mut slot.chains) {
            if let Some(chain) = saved.chains.get(channel.name()) {
                *place = chain.clone();
            }
        }
    }
    for instrument in current.into_values() {
        // A venue that the writer of the state could not decode has definitions but no slots.
        loaded.define(instrument.clone())?;
    }
    let numbered = state.connections.into_iter().map(|open| Connection {
        number: venues::number(&open.venue),
        ..open
    });
    loaded.connections = Connections::default();
    loaded.connections.open = numbered.collect();
    decoder.registry = loaded.registry;
    decoder.connections = loaded.connections;
    decoder.slots = loaded.slots;
    decoder.ledger_changes += 1;
    decoder.without_ledger = !state.ledger;
    decoder.stage.symbols = loaded.stage.symbols;
    decoder.stage.okx_texts = loaded.stage.okx_texts;
    Ok(())
}
