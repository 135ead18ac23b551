//! Memory of finished blocks, kept for the next ones: fresh pages cost more than what is written to them.

use std::collections::BTreeMap;

use super::column::Column;
use super::schema::{columns, Table};

/// Memory kept of one table's columns, and of one body, at most: a block of twice the usual 150,000 rows.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Bodies kept: the large tables of a cut.
const BODIES_MAX: usize = 3;
/// A body may be so many times what is needed to be kept.
const LARGER_MAX: usize = 2;
/// With each body the memory of the largest one loses one part in so many: some ten cuts.
const FADING: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// One set of empty columns per table.
    columns: BTreeMap<Table, Vec<Column>>,
    bodies: Vec<Vec<u8>>,
    /// Bytes of the largest body of late: it fades with each one that is asked for.
    needed: usize,
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
        self.needed = bytes.max(self.needed - self.needed / FADING);
        let kept_max = LARGER_MAX * self.needed;
        self.bodies.retain(|body| body.capacity() <= kept_max);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bodies_of_an_outage_go_when_small_blocks_come_again() {
        let mut spare = Spare::default();
        for _ in 0..BODIES_MAX {
            let body = spare.body(8 << 20);
            spare.keep_body(body);
        }
        let body = spare.body(8 << 20);
        assert!(spare.bodies.is_empty() && body.capacity() >= 8 << 20);
        spare.keep_body(body);
        for _ in 0..64 {
            let body = spare.body(1 << 20);
            spare.keep_body(body);
        }
        assert_eq!(spare.bodies.len(), 1);
        assert!(spare.bodies.iter().all(|body| body.capacity() <= 2 << 20));
    }
}
