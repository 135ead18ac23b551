//! A scanner over the bytes of one JSON message: no allocation, no tree, any key order, strict about the grammar.
//!
//! The caller walks objects and arrays with `Cursor` and takes values as spans of the input. It does not unescape strings:
//! what a decoder reads has no escapes, what it skips may have them.

use crate::decimal;
use crate::error::{Error, Reason, Result};

/// How deep objects and arrays may nest.
pub const NESTING_MAX: u32 = 32;

/// What kind of value a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `"…"`; the span is what stands between the quotes.
    Text,
    /// A number.
    Number,
    /// `{…}` with its braces.
    Object,
    /// `[…]` with its brackets.
    Array,
    /// `true`, `false` or `null`.
    Word,
}

/// A value of the message, where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// Its bytes, see `Shape`.
    pub bytes: &'a [u8],
    /// Offset of `bytes` in the message.
    pub at: usize,
    /// Its kind.
    pub shape: Shape,
}

/// A position in a message.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Value<'a> {
    /// A whole number ≥ 0, written as a number or as text.
    #[inline]
    pub fn unsigned(&self) -> Result<u64> {
        unsigned(self.bytes).map_err(|error| self.shifted(error))
    }

    /// The mantissa of a decimal at `scale`, written as a number or as text.
    #[inline]
    pub fn decimal(&self, scale: u8) -> Result<i64> {
        self.scalar()?;
        decimal::parse(self.bytes, scale).map_err(|error| self.shifted(error))
    }

    /// Mantissa and decimals as written.
    pub fn decimal_own(&self) -> Result<(i64, u8)> {
        self.scalar()?;
        decimal::parse_own(self.bytes).map_err(|error| self.shifted(error))
    }

    /// `true` or `false`.
    #[inline]
    pub fn boolean(&self) -> Result<bool> {
        // The spelling of a word was checked when it was read.
        match (self.shape, self.bytes.first()) {
            (Shape::Word, Some(b't')) => Ok(true),
            (Shape::Word, Some(b'f')) => Ok(false),
            _ => Err(Error::new(Reason::Malformed, self.at)),
        }
    }

    /// The bytes of a text value.
    #[inline]
    pub fn text(&self) -> Result<&'a [u8]> {
        match self.shape {
            Shape::Text => Ok(self.bytes),
            _ => Err(Error::new(Reason::Malformed, self.at)),
        }
    }

    /// A cursor on this value; its positions count from the start of the value's bytes.
    pub fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.bytes)
    }

    /// `error`, found inside this value, with its position in the message.
    pub fn shifted(&self, error: Error) -> Error {
        Error::new(error.reason, error.position + self.at)
    }

    fn scalar(&self) -> Result<()> {
        match self.shape {
            Shape::Text | Shape::Number => Ok(()),
            _ => Err(Error::new(Reason::NotANumber, self.at)),
        }
    }
}

#[inline]
fn unsigned(bytes: &[u8]) -> Result<u64> {
    if bytes.is_empty() {
        return Err(Error::new(Reason::NotANumber, 0));
    }
    let mut value = 0u64;
    // 19 digits always fit; only longer ones need the checks.
    for (at, byte) in bytes.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Error::new(Reason::NotANumber, at));
        }
        value = if at < 19 {
            value.wrapping_mul(10).wrapping_add(u64::from(digit))
        } else {
            let grown = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u64::from(digit)));
            grown.ok_or(Error::new(Reason::Overflow, at))?
        };
    }
    Ok(value)
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// A cursor at offset `at` of `bytes`: errors and spans then count from the start of the message.
    pub const fn at(bytes: &'a [u8], at: usize) -> Self {
        Cursor { bytes, at }
    }

    /// Offset of the next byte.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The first byte of the next value or mark, white space skipped.
    #[inline]
    pub fn peek(&mut self) -> Result<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if *byte > b' ' {
                return Ok(*byte);
            }
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return self.refuse();
            }
            self.at += 1;
        }
        Err(Error::new(Reason::Truncated, self.at))
    }

    /// Takes `byte`, white space skipped.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<()> {
        if self.bytes.get(self.at) == Some(&byte) || self.peek()? == byte {
            self.at += 1;
            return Ok(());
        }
        self.refuse()
    }

    /// The next key of the object whose `{` was taken; `None` behind its `}`. `first` is true before the first key.
    #[inline(always)]
    pub fn key(&mut self, first: &mut bool) -> Result<Option<&'a [u8]>> {
        // Most keys of a venue have one letter and no space around them: five bytes decide.
        if let (false, Some([b',', b'"', letter, b'"', b':'])) = (*first, self.bytes.get(self.at..self.at + 5)) {
            if letter.is_ascii_alphabetic() {
                let key = self.bytes.get(self.at + 2..self.at + 3);
                self.at += 5;
                return Ok(key);
            }
        }
        if !*first && self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(None);
        }
        if let (true, Some([b'"', letter, b'"', b':'])) = (*first, self.bytes.get(self.at..self.at + 4)) {
            if letter.is_ascii_alphabetic() {
                *first = false;
                let key = self.bytes.get(self.at + 1..self.at + 2);
                self.at += 4;
                return Ok(key);
            }
        }
        self.any_key(first)
    }

    fn any_key(&mut self, first: &mut bool) -> Result<Option<&'a [u8]>> {
        if !self.next(first, b'}')? {
            return Ok(None);
        }
        if self.peek()? != b'"' {
            return self.refuse();
        }
        let key = self.text()?;
        self.expect(b':')?;
        Ok(Some(key))
    }

    /// Whether the array whose `[` was taken has another element; false behind its `]`.
    #[inline]
    pub fn element(&mut self, first: &mut bool) -> Result<bool> {
        self.next(first, b']')
    }

    /// The next value, whatever it is; nested ones are checked and taken whole.
    #[inline(always)]
    pub fn value(&mut self) -> Result<Value<'a>> {
        match self.bytes.get(self.at) {
            Some(b'"') => {
                let at = self.at + 1;
                Ok(Value {
                    bytes: self.text()?,
                    at,
                    shape: Shape::Text,
                })
            }
            Some(b'1'..=b'9') => self.whole_number(),
            Some(b't') => self.short_word(b"true"),
            Some(b'f') => self.short_word(b"false"),
            _ => self.nested_value(0),
        }
    }

    /// `true` or `false`.
    #[inline(always)]
    fn short_word(&mut self, word: &[u8]) -> Result<Value<'a>> {
        let (start, shape) = (self.at, self.word(word)?);
        Ok(self.taken(start, shape))
    }

    /// The value that was taken since `start`.
    #[inline(always)]
    fn taken(&self, start: usize, shape: Shape) -> Value<'a> {
        let bytes = self.bytes.get(start..self.at).unwrap_or_default();
        Value {
            bytes,
            at: start,
            shape,
        }
    }

    /// A number that begins with 1–9; whole ones end here.
    #[inline]
    fn whole_number(&mut self) -> Result<Value<'a>> {
        let start = self.at;
        self.digits()?;
        if matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E')) {
            self.at = start;
            return self.nested_value(0);
        }
        Ok(self.taken(start, Shape::Number))
    }

    /// The mantissa of the next value, a decimal in quotes (or a bare number), at `scale`.
    #[inline]
    pub fn decimal(&mut self, scale: u8) -> Result<i64> {
        if self.bytes.get(self.at) == Some(&b'"') {
            let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
            if let Some((mantissa, used)) = decimal::plain(rest, scale) {
                if rest.get(used) == Some(&b'"') {
                    self.at += used + 2;
                    return Ok(mantissa);
                }
            }
        }
        self.value()?.decimal(scale)
    }

    /// Checks that nothing but white space is left.
    #[inline]
    pub fn end(&mut self) -> Result<()> {
        if self.at == self.bytes.len() {
            return Ok(());
        }
        match self.peek() {
            Err(Error {
                reason: Reason::Truncated,
                ..
            }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => self.refuse(),
        }
    }

    #[inline]
    fn next(&mut self, first: &mut bool, close: u8) -> Result<bool> {
        let byte = self.peek()?;
        if byte == close {
            self.at += 1;
            return Ok(false);
        }
        if std::mem::replace(first, false) {
            return Ok(true);
        }
        if byte != b',' {
            return self.refuse();
        }
        self.at += 1;
        if self.peek()? == close {
            return self.refuse(); // a comma before the end
        }
        Ok(true)
    }

    fn refuse<T>(&self) -> Result<T> {
        Err(Error::new(Reason::Malformed, self.at))
    }

    fn nested_value(&mut self, depth: u32) -> Result<Value<'a>> {
        let byte = self.peek()?;
        let start = self.at;
        let shape = match byte {
            b'"' => {
                let bytes = self.text()?;
                return Ok(Value {
                    bytes,
                    at: start + 1,
                    shape: Shape::Text,
                });
            }
            b'0'..=b'9' | b'-' => {
                self.number()?;
                Shape::Number
            }
            b'{' => {
                self.skip_object(depth)?;
                Shape::Object
            }
            b'[' => {
                self.skip_array(depth)?;
                Shape::Array
            }
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => return self.refuse(),
        };
        Ok(self.taken(start, shape))
    }

    fn skip_object(&mut self, depth: u32) -> Result<()> {
        self.deeper(depth)?;
        let mut first = true;
        while self.key(&mut first)?.is_some() {
            self.nested_value(depth + 1)?;
        }
        Ok(())
    }

    fn skip_array(&mut self, depth: u32) -> Result<()> {
        self.deeper(depth)?;
        let mut first = true;
        while self.element(&mut first)? {
            self.nested_value(depth + 1)?;
        }
        Ok(())
    }

    fn deeper(&mut self, depth: u32) -> Result<()> {
        if depth >= NESTING_MAX {
            return Err(Error::new(Reason::TooLarge, self.at));
        }
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn word(&mut self, word: &[u8]) -> Result<Shape> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(Shape::Word);
        }
        if word.starts_with(rest) {
            return Err(Error::new(Reason::Truncated, self.bytes.len()));
        }
        self.refuse()
    }

    #[inline]
    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        loop {
            let count = decimal::digit_count(self.bytes, self.at);
            self.at += count;
            if count < 8 {
                break;
            }
        }
        if self.at > start {
            return Ok(());
        }
        if self.at >= self.bytes.len() {
            return Err(Error::new(Reason::Truncated, self.at));
        }
        self.refuse()
    }

    #[inline]
    fn number(&mut self) -> Result<()> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let start = self.at;
        self.digits()?;
        if self.at > start + 1 && self.bytes.get(start) == Some(&b'0') {
            return Err(Error::new(Reason::Malformed, start));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'-' | b'+')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// The text whose opening quote is next; the cursor ends behind the closing one.
    #[inline]
    fn text(&mut self) -> Result<&'a [u8]> {
        self.at += 1;
        let start = self.at;
        loop {
            self.at += plain_run(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let text = self.bytes.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => self.escape()?,
                Some(byte) if *byte < b' ' => return self.refuse(),
                Some(_) => self.at += 1,
                None => return Err(Error::new(Reason::Truncated, self.at)),
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<()> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.bytes.get(self.at) {
                        Some(byte) if byte.is_ascii_hexdigit() => self.at += 1,
                        Some(_) => return self.refuse(),
                        None => return Err(Error::new(Reason::Truncated, self.at)),
                    }
                }
                Ok(())
            }
            Some(_) => self.refuse(),
            None => Err(Error::new(Reason::Truncated, self.at)),
        }
    }
}

/// How many bytes from `at` certainly need no look: eight at a time, up to the first quote, backslash or control byte.
#[inline(always)]
fn plain_run(bytes: &[u8], at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut run = 0;
    while let Some(eight) = bytes.get(at + run..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * b' ' as u64) & !word);
        if found & HIGHS != 0 {
            // Borrows only disturb bytes above the first hit, so the lowest one is exact.
            return run + ((found & HIGHS).trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    run
}
