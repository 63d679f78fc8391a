//! Reads the fields of protobuf messages where they are, without copying them.
//!
//! Wire format: <https://protobuf.dev/programming-guides/encoding/>. What is valid here is valid to prost.

/// How deep the groups of a skipped field may be in each other, as in prost.
const MAX_DEPTH: u32 = 100;

/// Bytes that are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// An integer of any type.
    Varint(u64),
    /// Eight bytes, such as a double.
    Fixed64([u8; 8]),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
    /// Four bytes, or a group: no message of this program has them.
    Skipped,
}

/// The fields of a message that are still to be read.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of a message.
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The number and the content of the next field; `None` behind the last one.
    ///
    /// # Errors
    ///
    /// If what follows is not a field.
    #[inline]
    pub fn read(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        // Most fields are short texts and short messages.
        if let [key @ 8..0x80, length @ ..0x80, rest @ ..] = self.rest
            && key & 7 == 2
            && let Some((bytes, rest)) = rest.split_at_checked(usize::from(*length))
        {
            self.rest = rest;
            return Ok(Some((u32::from(key >> 3), Field::Bytes(bytes))));
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.key()?;
        Ok(Some((number, self.content(number, wire_type, MAX_DEPTH)?)))
    }

    /// The content of the next field if it has this number, below 16, and is a message or text of fewer than
    /// 128 bytes. Otherwise [`read`](Self::read) reads it.
    #[inline]
    pub fn short(&mut self, number: u32) -> Option<&'a [u8]> {
        match self.rest {
            [key, length @ ..0x80, rest @ ..] if u32::from(*key) == number << 3 | 2 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
                self.rest = rest;
                Some(bytes)
            }
            _ => None,
        }
    }

    /// The number of bytes that are still to be read.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn content(&mut self, number: u32, wire_type: u8, depth: u32) -> Result<Field<'a>, Malformed> {
        match wire_type {
            0 => Ok(Field::Varint(self.varint()?)),
            1 => self.take_array().map(Field::Fixed64),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
                self.rest = rest;
                Ok(Field::Bytes(bytes))
            }
            3 => self.skip_group(number, depth).map(|()| Field::Skipped),
            5 => self.take_array::<4>().map(|_| Field::Skipped),
            _ => Err(Malformed),
        }
    }

    /// Skips a group from behind its first key.
    #[cold]
    fn skip_group(&mut self, group: u32, depth: u32) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        loop {
            match self.key()? {
                (number, 4) => return if number == group { Ok(()) } else { Err(Malformed) },
                (number, wire_type) => self.content(number, wire_type, depth)?,
            };
        }
    }

    /// The number and the wire type of a field.
    #[inline]
    fn key(&mut self) -> Result<(u32, u8), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let [wire_type, ..] = (key & 7).to_le_bytes();
        if key >> 3 == 0 { Err(Malformed) } else { Ok((key >> 3, wire_type)) }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                // Of ten bytes the last one has only one bit.
                let fits = index < 9 || *byte < 2;
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return if fits { Ok(value) } else { Err(Malformed) };
            }
        }
        Err(Malformed)
    }

    #[inline]
    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }
}
