//! The formats of ClickHouse in which a block can travel.

/// How the rows of a block are laid out in the body of its insert. The identity of a block never depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Column by column, with names and types.
    #[default]
    Native,
    /// Row by row, without names: the INSERT names the columns.
    RowBinary,
}

impl Format {
    /// ClickHouse's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Native => "Native",
            Format::RowBinary => "RowBinary",
        }
    }

    /// The format with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Format::Native, Format::RowBinary]
            .into_iter()
            .find(|format| format.name() == name)
    }
}
