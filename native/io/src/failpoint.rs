//! Named places at which a test may end the process or make a step fail. Compiled only with the feature `failpoints`.
//!
//! `TICKD_FAILPOINTS` holds orders `name=action@n`, separated by `;`: at the n-th pass of the place called `name` the
//! process kills itself with signal 9 (`kill`), does so behind half of a write (`torn`), or sees an I/O error (`eio`).
//! `TICKD_FAILPOINT_HITS` names a file to which every pass appends a line. Without the feature the two macros expand to
//! nothing and this file does not exist for the compiler.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use crate::sys::kill_self;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Torn,
    Eio,
}

#[derive(Debug)]
struct Order {
    name: String,
    action: Action,
    at: u64,
    passed: AtomicU64,
}

#[derive(Debug)]
struct Orders {
    orders: Vec<Order>,
    hits: Option<File>,
}

fn orders() -> &'static Orders {
    static ORDERS: OnceLock<Orders> = OnceLock::new();
    ORDERS.get_or_init(|| Orders {
        orders: std::env::var("TICKD_FAILPOINTS")
            .unwrap_or_default()
            .split(';')
            .filter_map(order)
            .collect(),
        hits: std::env::var_os("TICKD_FAILPOINT_HITS")
            .and_then(|path| OpenOptions::new().append(true).create(true).open(path).ok()),
    })
}

fn order(text: &str) -> Option<Order> {
    let (name, rest) = text.split_once('=')?;
    let (action, at) = rest.split_once('@')?;
    Some(Order {
        name: name.to_owned(),
        action: match action {
            "kill" => Action::Kill,
            "torn" => Action::Torn,
            "eio" => Action::Eio,
            _ => return None,
        },
        at: at.parse().ok()?,
        passed: AtomicU64::new(0),
    })
}

fn due(name: &str) -> Option<Action> {
    let orders = orders();
    if let Some(mut hits) = orders.hits.as_ref() {
        // Best effort: a lost line makes the test fail, not pass.
        let _ = hits.write_all(format!("{name}\n").as_bytes());
    }
    let due = orders.orders.iter().find(|order| order.name == name)?;
    (due.passed.fetch_add(1, Ordering::Relaxed) + 1 == due.at).then_some(due.action)
}

/// Passes the place `name`: perhaps for the last time.
pub fn pass(name: &str) {
    if matches!(due(name), Some(Action::Kill | Action::Torn)) {
        kill_self();
    }
}

/// Passes the place of a write: half of `bytes` may get to the file before the end.
pub fn pass_write(name: &str, mut file: &File, bytes: &[u8]) -> io::Result<()> {
    match due(name) {
        Some(Action::Kill) => kill_self(),
        Some(Action::Torn) => {
            file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            kill_self();
        }
        Some(Action::Eio) => return Err(io::Error::from_raw_os_error(5)),
        None => {}
    }
    Ok(())
}

/// Passes the place of a step that may be ordered to fail.
pub fn pass_step(name: &str) -> io::Result<()> {
    match due(name) {
        Some(Action::Kill | Action::Torn) => kill_self(),
        Some(Action::Eio) => return Err(io::Error::from_raw_os_error(5)),
        None => {}
    }
    Ok(())
}
