//! WebSocket frames (RFC 6455, 5.2): two bytes, up to eight of length, four of mask, the payload.
//! Control frames may stand between any two frames.

/// The opcode of Close.
pub(in crate::http) const CLOSE: u8 = 8;
/// The first bytes of a frame, whatever it is.
const SHORT: usize = 2;

/// Where in one direction's frames one is.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http) struct Frames {
    /// How many bytes of the head were read.
    head: usize,
    /// How long the head is; known once two bytes of it were read.
    whole: usize,
    /// How many bytes of the head's length field follow the first two.
    length_bytes: usize,
    /// The payload's length, as far as it was read.
    length: u64,
    /// Bytes of the payload that are still to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Follows a part.
    pub(in crate::http) fn read(&mut self, part: &[u8]) {
        self.follow(part, |_| false);
    }

    /// Follows a part up to the end of the first frame that ends in it. Returns how many bytes that
    /// is; None: none ends in it.
    pub(in crate::http) fn read_frame(&mut self, part: &[u8]) -> Option<usize> {
        let mut end = None;
        self.follow(part, |rest| {
            end = Some(part.len().saturating_sub(rest));
            true
        });
        end
    }

    /// True between two frames.
    pub(in crate::http) const fn is_between(&self) -> bool {
        self.head == 0 && self.left == 0
    }

    /// True once a Close has begun: no frame may follow it.
    pub(in crate::http) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Tells of each frame's end how much of the part lies behind it, until it is told to stop.
    fn follow(&mut self, part: &[u8], mut stop: impl FnMut(usize) -> bool) {
        let mut rest = part;
        while !rest.is_empty() {
            if self.left > 0 {
                let available = u64::try_from(rest.len()).unwrap_or(u64::MAX);
                let taken = self.left.min(available);
                self.left -= taken;
                let taken = usize::try_from(taken).unwrap_or(usize::MAX);
                rest = rest.get(taken..).unwrap_or_default();
            } else {
                let Some((byte, behind)) = rest.split_first() else {
                    return;
                };
                rest = behind;
                if !self.read_head(*byte) {
                    continue;
                }
            }
            if self.left == 0 && stop(rest.len()) {
                return;
            }
        }
    }

    /// Reads one byte of a head. True: it was the last; what is left is the payload's length.
    fn read_head(&mut self, byte: u8) -> bool {
        match self.head {
            0 => {
                self.closed |= byte & 0x0f == CLOSE;
                self.whole = SHORT;
                self.length = 0;
            }
            1 => {
                let short = byte & 0x7f;
                self.length_bytes = match short {
                    126 => 2,
                    127 => 8,
                    _ => 0,
                };
                if self.length_bytes == 0 {
                    self.length = short.into();
                }
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                self.whole = SHORT + self.length_bytes + mask;
            }
            at if at < SHORT + self.length_bytes => {
                self.length = (self.length << 8) | u64::from(byte);
            }
            _ => {}
        }
        self.head += 1;
        let ended = self.head >= SHORT && self.head == self.whole;
        if ended {
            self.head = 0;
            self.left = self.length;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;
    use proptest::prelude::*;

    /// A frame with so long a payload.
    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        if masked {
            frame.extend([8; 4]);
        }
        frame.extend(vec![8; length]);
        frame
    }

    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![0..8_usize, 120..130_usize, 65_530..65_540_usize]
    }

    proptest! {
        #[test]
        fn frames_are_told_apart_however_the_bytes_are_cut(
            lengths in prop::collection::vec((length(), any::<bool>()), 1..5),
            start in any::<prop::sample::Index>(), cut in 0..300_usize,
        ) {
            let mut ends = vec![0];
            let mut all = Vec::new();
            for (length, masked) in lengths {
                all.extend(frame(2, length, masked));
                ends.push(all.len());
            }
            let start = ends[start.index(ends.len())];
            let one = (start + cut).min(all.len());
            let mut frames = Frames::default();
            frames.read(&all[..one]);
            prop_assert_eq!(frames.is_between(), ends.contains(&one));
            prop_assert!(!frames.is_closed());
            let next = ends.iter().copied().find(|end| *end > one);
            prop_assert_eq!(frames.read_frame(&all[one..]), next.map(|end| end - one));
            prop_assert!(next.is_none() || frames.is_between());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            Frames::default().read(&bytes);
        }
    }

    #[test]
    fn a_close_is_seen_at_its_first_byte() {
        let mut frames = Frames::default();
        frames.read(&frame(1, 200, true));
        assert!(!frames.is_closed());
        frames.read(&[0x88]);
        assert!(frames.is_closed() && !frames.is_between());
    }
}
