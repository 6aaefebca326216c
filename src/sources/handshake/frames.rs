//! Finds HTTP/2 frames in bytes that pass (RFC 9113 section 4.1), cut anywhere. Payloads are skipped, not kept.

/// Where in the stream of frames one direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    header: [u8; 9],
    have: u8,
    /// Bytes of payload, or of the client's preface, before the next header.
    skip: u32,
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;

/// `ACK` of SETTINGS and PING, `END_STREAM` of DATA and HEADERS.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;

impl FrameHeader {
    /// A PING that follows the rules; others end the connection and are nobody's round trip.
    pub const fn is_ping(self) -> bool {
        self.kind == PING && self.length == 8
    }
}

impl Frames {
    /// `preface`: how many bytes come before the first frame.
    pub const fn new(preface: u32) -> Self {
        Self { header: [0; 9], have: 0, skip: preface }
    }

    /// Takes bytes up to the end of the next frame header. Returns how many were taken, and the header if it is whole;
    /// its payload is then skipped unless the caller says otherwise.
    pub fn advance(&mut self, bytes: &[u8]) -> (usize, Option<FrameHeader>) {
        let skipped = bytes.len().min(self.skip as usize);
        self.skip -= skipped as u32;
        let rest = &bytes[skipped..];
        let have = usize::from(self.have);
        let take = rest.len().min(self.header.len() - have);
        self.header[have..have + take].copy_from_slice(&rest[..take]);
        self.have += take as u8;
        if usize::from(self.have) < self.header.len() {
            return (skipped + take, None);
        }
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        self.have = 0;
        self.skip = length;
        (skipped + take, Some(FrameHeader { length, kind, flags, stream }))
    }

    /// Whether the next byte begins a frame.
    pub const fn between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// The caller takes so many bytes of the payload itself.
    pub fn taken(&mut self, bytes: u32) {
        self.skip = self.skip.saturating_sub(bytes);
    }
}
