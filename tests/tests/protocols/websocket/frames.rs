//! Frames as a client makes them (RFC 6455, 5.2).

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;
/// The bit that says "compressed".
pub(super) const RESERVED_1: u8 = 0x40;

/// Stand before a length of two bytes, and of eight.
const TWO: u8 = 126;
const EIGHT: u8 = 127;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame, masked. Reserved bits may stand in the opcode.
pub(super) fn frame(opcode: u8, last: bool, payload: &[u8]) -> Vec<u8> {
    let length = u64::try_from(payload.len()).unwrap();
    let mut frame = head(opcode, last, length);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame that announces more than it has.
pub(super) fn unfinished(opcode: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(opcode, true, length);
    frame.extend(payload);
    frame
}

fn head(opcode: u8, last: bool, length: u64) -> Vec<u8> {
    let mut head = vec![u8::from(last) << 7 | opcode];
    if length < u64::from(TWO) {
        head.push(MASKED | u8::try_from(length).unwrap());
    } else if let Ok(short) = u16::try_from(length) {
        head.push(MASKED | TWO);
        head.extend(short.to_be_bytes());
    } else {
        head.push(MASKED | EIGHT);
        head.extend(length.to_be_bytes());
    }
    head.extend(MASK);
    head
}
