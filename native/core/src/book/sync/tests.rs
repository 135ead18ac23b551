//! Each rule by example; `tests/book.rs` has the random streams.

use super::*;

fn states(steps: &[Option<Verdict>]) -> Vec<Option<BookState>> {
    steps.iter().map(|step| step.map(|verdict| verdict.state)).collect()
}

#[test]
fn spot_joins_when_the_change_begins_right_after_the_snapshot() {
    let mut sync = Synchroniser::new(Rule::BinanceSpot);
    assert_eq!(sync.change(101, 105, None).unwrap().state, BookState::Buffering);
    assert!(sync.snapshot_wanted());
    let verdict = sync.snapshot(100).unwrap();
    assert_eq!((verdict.state, verdict.last), (BookState::Synced, 105));
    assert!(!sync.snapshot_wanted());
}

#[test]
fn spot_refuses_an_older_snapshot_and_wants_another() {
    let mut sync = Synchroniser::new(Rule::BinanceSpot);
    sync.change(101, 105, None);
    let verdict = sync.snapshot(99).unwrap();
    assert_eq!(
        (verdict.state, verdict.expected, verdict.received),
        (BookState::Buffering, 101, 99)
    );
    assert!(sync.snapshot_wanted());
    assert_eq!(sync.snapshot(103).unwrap().state, BookState::Synced);
}

#[test]
fn spot_gap_names_the_missing_ids_and_old_changes_are_ignored() {
    let mut sync = Synchroniser::new(Rule::BinanceSpot);
    sync.change(101, 105, None);
    sync.snapshot(103);
    assert_eq!(sync.on_change(99, 104, None), (OnChange::Ignore, None));
    assert_eq!(sync.on_change(106, 108, None), (OnChange::Apply, None));
    let verdict = sync.change(110, 111, None).unwrap();
    assert_eq!(
        (verdict.state, verdict.last, verdict.expected, verdict.received),
        (BookState::Gap, 108, 109, 110)
    );
    assert_eq!(Rule::BinanceSpot.missing(&verdict), Some((109, 109)));
    assert_eq!(
        states(&[sync.change(112, 113, None), sync.snapshot(111)]),
        [None, Some(BookState::Synced)]
    );
    assert_eq!(sync.last_id(), 113);
}

#[test]
fn a_snapshot_newer_than_every_change_is_held_until_a_change_joins() {
    let mut sync = Synchroniser::new(Rule::BinanceSpot);
    sync.change(101, 105, None);
    assert_eq!(sync.on_snapshot(110), (OnSnapshot::Hold, None));
    assert!(!sync.snapshot_wanted());
    assert_eq!(sync.on_change(106, 110, None), (OnChange::Ignore, None));
    assert_eq!(sync.on_change(111, 112, None).1.unwrap().state, BookState::Synced);
}

#[test]
fn a_held_snapshot_is_refused_when_the_next_change_leaves_a_hole() {
    let mut sync = Synchroniser::new(Rule::BinanceSpot);
    sync.change(101, 105, None);
    sync.snapshot(110);
    let (todo, verdict) = sync.on_change(115, 118, None);
    assert_eq!(
        (todo, verdict.unwrap().state),
        (OnChange::KeepOnly, BookState::Buffering)
    );
    assert!(sync.snapshot_wanted());
}

#[test]
fn a_newer_snapshot_of_a_live_book_replaces_it_and_the_next_change_joins_it() {
    let mut sync = Synchroniser::new(Rule::BinanceFutures);
    sync.change(110, 120, Some(99));
    sync.snapshot(115);
    assert_eq!(sync.on_snapshot(120), (OnSnapshot::Ignore, None));
    assert_eq!(sync.on_snapshot(135), (OnSnapshot::Join, None));
    assert_eq!(sync.on_change(121, 130, Some(120)), (OnChange::Ignore, None));
    assert_eq!(sync.on_change(131, 140, Some(130)), (OnChange::Apply, None));
    assert_eq!(sync.change(131, 150, Some(130)).unwrap().state, BookState::Gap);
}

#[test]
fn futures_join_by_overlap_and_by_previous_id() {
    for (snapshot, joins) in [
        (99, true),
        (101, false),
        (110, true),
        (115, true),
        (120, true),
        (98, false),
    ] {
        let mut sync = Synchroniser::new(Rule::BinanceFutures);
        sync.change(110, 120, Some(99));
        let state = sync.snapshot(snapshot).unwrap().state;
        assert_eq!(state == BookState::Synced, joins, "snapshot {snapshot}");
        assert_eq!(sync.snapshot_wanted(), !joins);
    }
}

#[test]
fn futures_chain_is_the_previous_id_alone() {
    let mut sync = Synchroniser::new(Rule::BinanceFutures);
    sync.change(110, 120, Some(99));
    sync.snapshot(115);
    // U == pu - 1 was recorded in 2020.
    assert_eq!(sync.on_change(119, 130, Some(120)), (OnChange::Apply, None));
    assert_eq!(sync.on_change(119, 130, Some(120)), (OnChange::Ignore, None));
    let verdict = sync.change(131, 140, Some(129)).unwrap();
    assert_eq!(
        (verdict.state, verdict.expected, verdict.received),
        (BookState::Gap, 130, 129)
    );
    assert_eq!(Rule::BinanceFutures.missing(&verdict), None);
    assert_eq!(sync.snapshot(140).unwrap().state, BookState::Synced);
    assert_eq!(sync.change(150, 160, Some(145)).unwrap().received, 145);
}

#[test]
fn a_broken_chain_while_buffering_keeps_only_what_follows() {
    let mut sync = Synchroniser::new(Rule::BinanceFutures);
    sync.change(10, 20, Some(9));
    assert_eq!(sync.on_change(40, 50, Some(39)).0, OnChange::KeepOnly);
    assert_eq!(sync.snapshot(15).unwrap().state, BookState::Buffering);
    assert_eq!(sync.snapshot(45).unwrap().state, BookState::Synced);
}

#[test]
fn the_run_is_bounded() {
    let mut sync = Synchroniser::new(Rule::BinanceSpot);
    for id in 1..=2 * RUN_MAX as u64 {
        sync.change(id, id, None);
    }
    assert_eq!(sync.run.len(), RUN_MAX);
    assert_eq!(sync.snapshot(10).unwrap().state, BookState::Buffering);
    assert_eq!(sync.snapshot(RUN_MAX as u64).unwrap().state, BookState::Synced);
}

#[test]
fn okx_keep_alive_and_reset_are_not_gaps() {
    let mut sync = Synchroniser::new(Rule::Okx);
    assert_eq!(sync.snapshot(10).unwrap().state, BookState::Synced);
    assert_eq!(sync.change(15, 15, Some(10)), None);
    assert_eq!(sync.change(15, 15, Some(15)), None);
    assert_eq!(sync.change(3, 3, Some(15)), None);
    assert_eq!(sync.change(5, 5, Some(3)), None);
    let verdict = sync.change(9, 9, Some(7)).unwrap();
    assert_eq!(
        (verdict.state, verdict.expected, verdict.received),
        (BookState::Gap, 5, 7)
    );
    assert_eq!(Rule::Okx.missing(&verdict), Some((6, 7)));
    assert_eq!(sync.change(12, 12, Some(9)), None);
    assert_eq!(sync.snapshot(20).unwrap().state, BookState::Synced);
}

#[test]
fn okx_a_lower_id_after_a_lost_reset_is_a_gap_not_a_repeat() {
    let mut sync = Synchroniser::new(Rule::Okx);
    sync.snapshot(100);
    sync.change(110, 110, Some(100));
    assert_eq!(sync.on_change(110, 110, Some(100)), (OnChange::Ignore, None));
    assert_eq!(sync.change(4, 4, Some(3)).unwrap().state, BookState::Gap);
}

#[test]
fn okx_changes_before_the_snapshot_ask_for_one() {
    let mut sync = Synchroniser::new(Rule::Okx);
    assert_eq!(sync.on_change(5, 5, Some(4)).0, OnChange::Ignore);
    assert!(sync.snapshot_wanted());
    assert_eq!(sync.on_snapshot(9).0, OnSnapshot::Join);
    assert_eq!(sync.on_snapshot(11), (OnSnapshot::Join, None));
}

#[test]
fn without_ids_only_distrust_breaks_the_book() {
    let mut sync = Synchroniser::new(Rule::Okx);
    assert_eq!(sync.snapshot(ID_UNDEF).unwrap().state, BookState::Synced);
    assert_eq!(sync.on_change(ID_UNDEF, ID_UNDEF, None), (OnChange::Apply, None));
    assert_eq!(sync.distrust(1, 2).unwrap().state, BookState::Gap);
    assert_eq!(sync.distrust(1, 2), None);
    assert_eq!(sync.on_change(ID_UNDEF, ID_UNDEF, None), (OnChange::Ignore, None));
}

#[test]
fn after_a_disconnect_the_first_change_asks_for_a_snapshot() {
    for rule in [Rule::BinanceSpot, Rule::BinanceFutures, Rule::Okx] {
        let mut sync = Synchroniser::new(rule);
        assert_eq!(sync.disconnect(), None);
        sync.change(10, 20, Some(9));
        sync.snapshot(15);
        assert_eq!(sync.disconnect().unwrap().state, BookState::Gap);
        assert!(!sync.snapshot_wanted());
        assert_eq!(sync.change(21, 30, Some(20)).unwrap().state, BookState::Buffering);
        assert!(sync.snapshot_wanted());
    }
}

#[test]
fn a_checkpoint_carries_the_state() {
    let mut sync = Synchroniser::new(Rule::BinanceFutures);
    sync.change(110, 120, Some(99));
    sync.change(121, 130, Some(120));
    let text = serde_json::to_string(&sync).unwrap();
    let mut copy: Synchroniser = serde_json::from_str(&text).unwrap();
    assert_eq!(copy, sync);
    assert_eq!(copy.snapshot(115), sync.snapshot(115));
}
