//! A ruleset as the bytes that nf_tables reads: one batch of netlink messages. Pure; opens no socket.
//!
//! The invariant: a batch begins with "make the table, delete the table", which succeeds whether or not it was there,
//! so that whatever follows starts from nothing, all in one transaction. Numbers are those of the kernel's
//! `linux/netfilter/nf_tables.h`; numbers inside attributes are big-endian, those of the headers are the machine's own.

use super::rules::{Chain, Hook, Match, Rule, Ruleset, Verdict};

/// The table that holds everything of ours.
const TABLE: &str = "segue";
/// `NFPROTO_IPV4`.
const FAMILY: u8 = 2;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DEL_TABLE: u16 = (SUBSYSTEM << 8) | 2;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_CREATE`, `NLM_F_APPEND`.
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NF_IP_PRI_NAT_DST`, where both chains stand.
const PRIORITY: i32 = -100;
/// `NFT_RETURN`.
const RETURN: i32 = -5;
/// `NFT_REG_VERDICT` and the first of the registers for data.
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// Room for an interface's name, `IFNAMSIZ`.
const INTERFACE_NAME: usize = 16;

/// One transaction, and what each of its messages is about.
#[derive(Debug)]
pub(super) struct Batch {
    /// What to send.
    pub(super) bytes: Vec<u8>,
    /// By sequence number minus one: the object a message is about, for the one that is refused.
    pub(super) subjects: Vec<String>,
}

/// Replaces whatever stands in our table by these rules.
pub(super) fn install(ruleset: &Ruleset) -> Batch {
    let mut messages = emptied();
    messages.push(table(NEW_TABLE, CREATE));
    for chain in &ruleset.chains {
        messages.push(new_chain(chain));
    }
    for chain in &ruleset.chains {
        for (index, rule) in chain.rules.iter().enumerate() {
            messages.push(new_rule(chain.name, index, rule));
        }
    }
    batch(messages)
}

/// Deletes our table, whether it is there or not.
pub(super) fn remove() -> Batch {
    batch(emptied())
}

struct Message {
    kind: u16,
    flags: u16,
    attributes: Vec<u8>,
    subject: String,
}

fn emptied() -> Vec<Message> {
    vec![table(NEW_TABLE, CREATE), table(DEL_TABLE, 0)]
}

fn table(kind: u16, flags: u16) -> Message {
    let attributes = text(1, TABLE);
    Message {
        kind,
        flags,
        attributes,
        subject: format!("table ip {TABLE}"),
    }
}

fn new_chain(chain: &Chain) -> Message {
    let hook = match chain.hook {
        Hook::Prerouting => 0,
        Hook::Output => 3,
    };
    let hook = [number(1, hook), signed(2, PRIORITY)].concat();
    let attributes = [
        text(1, TABLE),
        text(3, chain.name),
        nested(4, &hook),
        text(7, "nat"),
    ]
    .concat();
    let subject = format!("chain {} of type nat in table ip {TABLE}", chain.name);
    Message {
        kind: NEW_CHAIN,
        flags: CREATE,
        attributes,
        subject,
    }
}

fn new_rule(chain: &str, index: usize, rule: &Rule) -> Message {
    let mut expressions = Vec::new();
    for one in &rule.matches {
        expressions.extend(match_expressions(*one));
    }
    expressions.extend(verdict_expressions(rule.verdict));
    let attributes = [text(1, TABLE), text(2, chain), nested(4, &expressions)].concat();
    let subject = format!(
        "rule {} of chain {chain} in table ip {TABLE} ({rule:?})",
        index + 1
    );
    Message {
        kind: NEW_RULE,
        flags: CREATE | APPEND,
        attributes,
        subject,
    }
}

fn match_expressions(one: Match) -> Vec<u8> {
    match one {
        Match::Tcp => [meta(16), equals(&[TCP])].concat(),
        Match::Mark(mark) => [meta(3), equals(&mark.to_ne_bytes())].concat(),
        Match::User(uid) => [meta(10), equals(&uid.to_ne_bytes())].concat(),
        Match::ArrivesByLoopback => [meta(6), equals(&interface("lo"))].concat(),
        Match::LeavesByLoopback => [meta(7), equals(&interface("lo"))].concat(),
        Match::Destination(cidr) => [
            payload(1, 16, 4),
            masked(cidr.mask().octets()),
            equals(&cidr.network().octets()),
        ]
        .concat(),
        Match::DestinationPort(port) => [payload(2, 2, 2), equals(&port.to_be_bytes())].concat(),
    }
}

fn verdict_expressions(verdict: Verdict) -> Vec<u8> {
    match verdict {
        Verdict::Return => {
            let verdict = nested(2, &signed(1, RETURN));
            immediate(VERDICT_REGISTER, &verdict)
        }
        Verdict::RedirectTo(port) => {
            let load = immediate(REGISTER, &attribute(1, &port.to_be_bytes()));
            [load, expression("redir", &number(1, REGISTER))].concat()
        }
    }
}

/// Loads a property of the packet (`NFT_META_…`) into the register.
fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, REGISTER), number(2, key)].concat())
}

/// Loads bytes of a header (1 network, 2 transport) into the register.
fn payload(header: u32, offset: u32, length: u32) -> Vec<u8> {
    let data = [
        number(1, REGISTER),
        number(2, header),
        number(3, offset),
        number(4, length),
    ];
    expression("payload", &data.concat())
}

/// Keeps the register's four bytes under the mask.
fn masked(mask: [u8; 4]) -> Vec<u8> {
    let data = [
        number(1, REGISTER),
        number(2, REGISTER),
        number(3, 4),
        nested(4, &attribute(1, &mask)),
        nested(5, &attribute(1, &[0; 4])),
    ];
    expression("bitwise", &data.concat())
}

/// Ends the rule unless the register holds this.
fn equals(value: &[u8]) -> Vec<u8> {
    let data = [
        number(1, REGISTER),
        number(2, 0),
        nested(3, &attribute(1, value)),
    ];
    expression("cmp", &data.concat())
}

fn immediate(register: u32, data: &[u8]) -> Vec<u8> {
    expression(
        "immediate",
        &[number(1, register), nested(2, data)].concat(),
    )
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)].concat())
}

fn interface(name: &str) -> [u8; INTERFACE_NAME] {
    let mut padded = [0; INTERFACE_NAME];
    for (to, from) in padded.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    padded
}

fn batch(messages: Vec<Message>) -> Batch {
    let mut bytes = message(BATCH_BEGIN, REQUEST, 0, &header(0, SUBSYSTEM));
    let mut subjects = Vec::with_capacity(messages.len());
    let count = messages.len();
    for (index, one) in messages.into_iter().enumerate() {
        // Refusals are always told; a word of success is wanted once.
        let ack = if index + 1 == count { ACK } else { 0 };
        let body = [header(FAMILY, 0), one.attributes].concat();
        bytes.extend(message(
            one.kind,
            REQUEST | ack | one.flags,
            index + 1,
            &body,
        ));
        subjects.push(one.subject);
    }
    bytes.extend(message(
        BATCH_END,
        REQUEST,
        count + 1,
        &header(0, SUBSYSTEM),
    ));
    Batch { bytes, subjects }
}

/// `nfgenmsg`.
fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

/// `nlmsghdr` and what follows it.
fn message(kind: u16, flags: u16, sequence: usize, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let sequence = u32::try_from(sequence).unwrap_or(u32::MAX);
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &[0; 4],
        body,
    ]
    .concat()
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn signed(kind: u16, value: i32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn nested(kind: u16, content: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, content)
}

/// `nlattr`, padded to four bytes. No attribute of ours comes near the 64 KiB that its length can say.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{super::config::Config, super::rules::ruleset, *};

    /// Kind, flags and sequence of each message of a batch.
    fn headers(batch: &Batch) -> Vec<(u16, u16, u32)> {
        let mut rest = &batch.bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let u16_at = |at: usize| u16::from_ne_bytes(rest[at..at + 2].try_into().unwrap());
            let u32_at = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
            found.push((u16_at(4), u16_at(6), u32_at(8)));
            rest = &rest[u32_at(0) as usize..];
        }
        found
    }

    #[test]
    fn removing_makes_the_table_first_so_that_its_absence_is_no_error() {
        let kinds: Vec<u16> = headers(&remove())
            .into_iter()
            .map(|(kind, ..)| kind)
            .collect();
        assert_eq!(kinds, [BATCH_BEGIN, NEW_TABLE, DEL_TABLE, BATCH_END]);
    }

    #[test]
    fn installing_starts_from_nothing_within_one_batch() {
        let rules = ruleset(&Config {
            mark: Some(1),
            ..Config::default()
        })
        .unwrap();
        let batch = install(&rules);
        let headers = headers(&batch);
        let kinds: Vec<u16> = headers.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(
            kinds[..6],
            [
                BATCH_BEGIN,
                NEW_TABLE,
                DEL_TABLE,
                NEW_TABLE,
                NEW_CHAIN,
                NEW_CHAIN
            ]
        );
        assert!(
            kinds[6..kinds.len() - 1]
                .iter()
                .all(|kind| *kind == NEW_RULE)
        );
        assert_eq!(kinds.last(), Some(&BATCH_END));
        let acknowledged = headers.iter().filter(|(_, flags, _)| flags & ACK != 0);
        assert_eq!(acknowledged.count(), 1);
        assert_eq!(batch.subjects.len(), headers.len() - 2);
        let numbered = headers
            .iter()
            .enumerate()
            .all(|(i, (_, _, seq))| i == *seq as usize);
        assert!(numbered);
    }

    #[test]
    fn attributes_are_padded_but_say_their_own_length() {
        assert_eq!(
            attribute(1, &[9]),
            [&5u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), &[9, 0, 0, 0]].concat()
        );
        assert_eq!(text(2, "ab").len(), 8);
    }

    #[test]
    fn an_interface_name_fills_its_field() {
        assert_eq!(interface("lo")[..3], [b'l', b'o', 0]);
        assert_eq!(interface("a-name-that-is-far-too-long").len(), 16);
    }
}
