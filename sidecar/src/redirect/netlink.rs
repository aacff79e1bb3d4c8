//! Hands a batch to the kernel and reads its answer. Decides nothing about rules.
//!
//! The kernel works through a batch while it is being sent, so that its whole answer waits once the send returns: no
//! wait, no time-out. Any refusal means that nothing of the batch was done.

use super::{config::ConfigError, message::Batch};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;
use std::io;

/// `NLMSG_ERROR`: also the word of success, with the number 0.
const NLMSG_ERROR: u16 = 2;
/// Larger than any answer: a header, an error number, and the refused message in full.
const ANSWER: usize = 64 * 1024;

/// Why the redirection was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The setting contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no way to talk to nf_tables.
    #[error(
        "no netlink socket to nf_tables: {0}; the kernel needs nf_tables (CONFIG_NF_TABLES, CONFIG_NFT_REDIR)"
    )]
    Socket(#[source] io::Error),
    /// The kernel did not want one of the objects.
    #[error("the kernel refused {subject}: {errno}; {advice}", advice = advice(*errno))]
    Refused {
        /// What it refused.
        subject: String,
        /// Its reason.
        errno: Errno,
    },
    /// The kernel took the batch and said nothing.
    #[error("the kernel did not confirm the rules; look with 'nft list table ip segue'")]
    Unconfirmed,
}

fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM | Errno::EACCES => {
            "changing rules needs CAP_NET_ADMIN in this network namespace"
        }
        Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => {
            "it lacks NAT for nf_tables; load the modules nf_tables, nft_chain_nat and nft_redir"
        }
        Errno::EBUSY | Errno::EEXIST => {
            "another program changes the table ip segue at the same time; run the command again"
        }
        _ => "nothing was changed",
    }
}

/// Carries out the batch, all of it or nothing.
pub(super) fn apply(batch: &Batch) -> Result<(), Error> {
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(Error::Socket)?;
    socket.bind_auto().map_err(Error::Socket)?;
    socket
        .connect(&SocketAddr::new(0, 0))
        .map_err(Error::Socket)?;
    socket.set_non_blocking(true).map_err(Error::Socket)?;
    socket.send(&batch.bytes, 0).map_err(Error::Socket)?;
    let mut confirmed = false;
    loop {
        let mut answer = Vec::with_capacity(ANSWER);
        match socket.recv(&mut answer, 0) {
            Ok(_) => confirmed |= read(&answer, batch)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(Error::Socket(error)),
        }
    }
    if confirmed {
        Ok(())
    } else {
        Err(Error::Unconfirmed)
    }
}

/// Whether the answer confirms; the first refusal in it is the error.
fn read(answer: &[u8], batch: &Batch) -> Result<bool, Error> {
    let mut confirmed = false;
    let mut rest = answer;
    while let Some((length, kind, sequence)) = header(rest) {
        let (one, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = after
            .get(length.next_multiple_of(4) - length..)
            .unwrap_or(&[]);
        if kind != NLMSG_ERROR {
            continue;
        }
        match u32_at(one, 16).map(u32::cast_signed) {
            Some(0) => confirmed = true,
            Some(code) => {
                let subject = usize::try_from(sequence)
                    .ok()
                    .and_then(|sequence| batch.subjects.get(sequence.checked_sub(1)?))
                    .map_or_else(|| "the change of its rules".to_owned(), Clone::clone);
                return Err(Error::Refused {
                    subject,
                    errno: Errno::from_raw(code.wrapping_neg()),
                });
            }
            None => {}
        }
    }
    Ok(confirmed)
}

fn header(bytes: &[u8]) -> Option<(usize, u16, u32)> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..6)?.first_chunk()?);
    // Shorter than its own header is no message; going on would never end.
    (length >= 16).then_some((length, kind, u32_at(bytes, 8)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch() -> Batch {
        Batch {
            bytes: Vec::new(),
            subjects: vec!["table a".to_owned(), "chain b".to_owned()],
        }
    }

    fn answer(sequence: u32, code: i32) -> Vec<u8> {
        [
            &36u32.to_ne_bytes()[..],
            &NLMSG_ERROR.to_ne_bytes(),
            &[0; 2],
            &sequence.to_ne_bytes(),
            &[0; 4],
            &code.to_ne_bytes(),
            &[0; 16],
        ]
        .concat()
    }

    #[test]
    fn a_zero_confirms() {
        assert!(read(&answer(2, 0), &batch()).unwrap());
        assert!(!read(&[], &batch()).unwrap());
    }

    #[test]
    fn a_refusal_names_the_object_and_says_what_to_do() {
        let both = [answer(2, -1), answer(1, 0)].concat();
        let error = read(&both, &batch()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("the kernel refused chain b: EPERM"),
            "{text}"
        );
        assert!(text.contains("CAP_NET_ADMIN"), "{text}");
    }

    #[test]
    fn a_refusal_of_the_batch_itself_is_told_too() {
        let text = read(&answer(0, -95), &batch()).unwrap_err().to_string();
        assert!(
            text.starts_with("the kernel refused the change of its rules"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_stumble(bytes: Vec<u8>) {
            drop(read(&bytes, &batch()));
        }
    }
}
