//! Memory of finished blocks, kept for the next ones: fresh pages cost more than what is written to them.

use std::collections::BTreeMap;

use super::column::Column;
use super::schema::{columns, Table};

/// Memory kept of one table's columns, and of one body, at most: a block of twice the usual 150,000 rows.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Bodies kept: the large tables of a cut.
const BODIES_MAX: usize = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// One set of empty columns per table.
    columns: BTreeMap<Table, Vec<Column>>,
    bodies: Vec<Vec<u8>>,
}

impl Spare {
    /// Empty columns for a block of `table`.
    pub fn columns(&mut self, table: Table) -> Vec<Column> {
        let kept = self.columns.remove(&table);
        kept.unwrap_or_else(|| columns(table).map(|(_, kind)| Column::of(kind)).collect())
    }

    /// Takes the columns of a finished block back.
    pub fn keep_columns(&mut self, table: Table, mut set: Vec<Column>) {
        if set.iter().map(Column::capacity).sum::<usize>() > KEPT_BYTES_MAX {
            return;
        }
        set.iter_mut().for_each(Column::clear);
        self.columns.insert(table, set);
    }

    /// Empty memory for a body of `bytes`: the smallest that is large enough, else new.
    pub fn body(&mut self, bytes: usize) -> Vec<u8> {
        let fits = self
            .bodies
            .iter()
            .enumerate()
            .filter(|(_, body)| body.capacity() >= bytes);
        match fits.min_by_key(|(_, body)| body.capacity()).map(|(at, _)| at) {
            Some(at) => self.bodies.swap_remove(at),
            None => Vec::with_capacity(bytes),
        }
    }

    /// Takes a body back that nobody needs any more; of too many the smallest goes.
    pub fn keep_body(&mut self, mut body: Vec<u8>) {
        if body.capacity() > KEPT_BYTES_MAX {
            return;
        }
        body.clear();
        self.bodies.push(body);
        if self.bodies.len() > BODIES_MAX {
            let smallest = self.bodies.iter().enumerate().min_by_key(|(_, body)| body.capacity());
            if let Some(at) = smallest.map(|(at, _)| at) {
                self.bodies.swap_remove(at);
            }
        }
    }
}
