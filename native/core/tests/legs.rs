//! Overlapping legs of one stream: every message that any leg brings becomes one event, whatever the interleaving.
//!
//! Method: a numbered stream is cut into messages; two legs bring it in order, each from its own start to its own end; the
//! chain is asked message by message. With both alive, or the second alive when the first ends, nothing is lost or doubled.

#![allow(clippy::indexing_slicing)]

use proptest::prelude::*;
use tickd_core::decode::continuity::{Chain, Judgement, Numbering, Place};
use tickd_core::event::GapCause;

/// Ids of the messages: each covers `link + 1..=last`; in shared id spaces ids are skipped inside a message.
fn messages(sizes: &[u64]) -> Vec<Place> {
    let mut last = 1000;
    let place = |size: &u64| {
        let link = last;
        last += size;
        Place {
            last,
            link: Some(link),
            ts_event: 0,
        }
    };
    sizes.iter().map(place).collect()
}

struct Run {
    emitted: Vec<u64>,
    gaps: usize,
}

/// `order` says which leg speaks next (as long as it has something to say); leg 1 ends after `end`, leg 2 begins at `begin`.
fn run(numbering: Numbering, messages: &[Place], order: &[bool], begin: usize, end: usize) -> Run {
    let mut chain = Chain::default();
    let mut at = [0, begin];
    let stop = [end, messages.len()];
    let mut run = Run {
        emitted: Vec::new(),
        gaps: 0,
    };
    let mut turn = order
        .iter()
        .map(|second| usize::from(*second))
        .chain((0..).map(|n| n % 2));
    let mut lost = false;
    while at[0] < stop[0] || at[1] < stop[1] {
        let leg = turn.next().unwrap_or(0);
        if at[leg] < stop[leg] {
            match chain.judge(numbering, leg as u32 + 1, messages[at[leg]], at[leg] as i64) {
                Judgement::Emit | Judgement::Late => run.emitted.push(messages[at[leg]].last),
                Judgement::EmitAfter(_) => {
                    run.emitted.push(messages[at[leg]].last);
                    run.gaps += 1;
                }
                Judgement::Duplicate => {}
            }
            at[leg] += 1;
        }
        if at[0] == stop[0] && !lost {
            lost = true;
            chain.lose(1, 0, GapCause::Disconnect);
        }
    }
    run
}

proptest! {
    #[test]
    fn two_legs_bring_every_message_once(
        sizes in prop::collection::vec(1u64..5, 1..50),
        order in prop::collection::vec(any::<bool>(), 0..120),
        begin in any::<prop::sample::Index>(),
        end in any::<prop::sample::Index>(),
        linked in any::<bool>(),
    ) {
        let numbering = if linked { Numbering::Linked } else { Numbering::Gapless };
        let sizes: Vec<u64> = if linked { sizes } else { vec![1; sizes.len()] };
        let messages = messages(&sizes);
        // They overlap: the second begins before the first ends.
        let begin = begin.index(messages.len());
        let end = begin + end.index(messages.len() - begin) + 1;
        let run = run(numbering, &messages, &order, begin, end);
        let first = run.emitted.first().copied().unwrap_or(0);
        let mut emitted = run.emitted.clone();
        emitted.sort_unstable();
        let expected: Vec<u64> = messages.iter().map(|place| place.last).filter(|last| *last >= first).collect();
        prop_assert_eq!(emitted, expected);
        let ordered = run.emitted.is_sorted();
        prop_assert!(!ordered || run.gaps == 0, "nothing was out of order, so nothing may be called missing");
    }

    /// The only leg dies and comes back: a gap is said exactly when messages are missing, with exactly their ids.
    #[test]
    fn a_reconnect_says_what_is_missing_and_nothing_else(
        sizes in prop::collection::vec(1u64..5, 2..20),
        cut in any::<prop::sample::Index>(),
        missing in 0usize..4,
        linked in any::<bool>(),
    ) {
        let numbering = if linked { Numbering::Linked } else { Numbering::Gapless };
        let messages = messages(&sizes);
        let cut = 1 + cut.index(messages.len() - 1);
        let missing = missing.min(messages.len() - 1 - cut);
        let mut chain = Chain::default();
        for place in &messages[..cut] {
            prop_assert_eq!(chain.judge(numbering, 1, *place, 5), Judgement::Emit);
        }
        prop_assert!(chain.lose(1, 6, GapCause::Disconnect));
        let (last, next) = (messages[cut - 1].last, messages[cut + missing]);
        match chain.judge(numbering, 2, next, 9) {
            Judgement::Emit => prop_assert_eq!(missing, 0),
            Judgement::EmitAfter(hole) => {
                prop_assert!(missing > 0);
                prop_assert_eq!((hole.cause, hole.since_ns), (GapCause::Disconnect, 6));
                prop_assert_eq!(hole.range, next.link.map(|link| (last + 1, link)));
            }
            Judgement::Late | Judgement::Duplicate => prop_assert!(false, "a new message was not taken for new"),
        }
    }
}
