//! Compression of a whole HTTP body, for links where bytes cost more than CPU.

use std::io::Write;

/// How a body travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As it is: the right choice on loopback and in a LAN.
    #[default]
    None,
    /// One LZ4 frame (`Content-Encoding: lz4`).
    Lz4,
    /// One zstd frame of this level (`Content-Encoding: zstd`).
    Zstd(i32),
}

impl Compression {
    /// The value of `Content-Encoding`; none when the body is plain.
    pub const fn encoding(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Lz4 => Some("lz4"),
            Compression::Zstd(_) => Some("zstd"),
        }
    }
}

/// The body as it travels; none when it travels as it is (no compression wanted, or the compressor refused).
pub fn compress(body: &[u8], compression: Compression) -> Option<Vec<u8>> {
    match compression {
        Compression::None => None,
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::with_capacity(body.len() / 2));
            encoder.write_all(body).ok()?;
            encoder.finish().ok()
        }
        Compression::Zstd(level) => zstd::bulk::compress(body, level).ok(),
    }
}
