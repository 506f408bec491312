// SPDX-License-Identifier: Apache-2.0
//! What is read by ourselves of what others wrote: a request's head, its host, any text for a terminal. Nothing but the
//! standard library, so that tests and fuzzing take these lines alone.

use std::cell::RefCell;
use std::rc::Rc;

/// Text of somebody else's, fit for a terminal: printable ASCII stays, the rest is \xHH.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(b as char),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out
}

/// A host and perhaps a port, as a Host header or a target has them.
pub fn good_host(host: &str) -> bool {
    let (name, port) = match host.rfind(':') {
        Some(n) if !host.ends_with(']') => (&host[..n], &host[n + 1..]),
        _ => (host, "1"),
    };
    let fits = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(six) => six.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
    };
    fits && name.len() <= 255 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// What was read lately. A request with both lengths must be refused, but hyper drops one of them unseen.
#[derive(Clone, Default)]
pub struct Heads(Rc<RefCell<Vec<u8>>>);
const HEADS: usize = 16 << 10;

fn has_both(head: &[u8]) -> bool {
    let named = |name: &[u8]| {
        head.split(|b| *b == b'\n').skip(1).any(|l| {
            let end = l.iter().position(|b| *b == b':').unwrap_or(0);
            l[..end].trim_ascii().eq_ignore_ascii_case(name)
        })
    };
    named(b"content-length") && named(b"transfer-encoding")
}

fn find(all: &[u8], what: &[u8]) -> Option<usize> {
    all.windows(what.len()).position(|w| w == what)
}

impl Heads {
    pub fn remember(&self, bytes: &[u8]) {
        let mut h = self.0.borrow_mut();
        h.extend_from_slice(bytes);
        if h.len() > 2 * HEADS {
            let gone = h.len() - HEADS;
            h.drain(..gone);
        }
    }

    /// Some head with this request line has Content-Length and Transfer-Encoding; or it is not there any more.
    pub fn have_both_lengths(&self, line: &str) -> bool {
        let h = self.0.borrow();
        let (mut rest, mut seen) = (&h[..], false);
        while let Some(at) = find(rest, line.as_bytes()) {
            rest = &rest[at..];
            let end = find(rest, b"\r\n\r\n").or_else(|| find(rest, b"\n\n")).unwrap_or(rest.len());
            if has_both(&rest[..end]) {
                return true;
            }
            seen = true;
            rest = &rest[line.len()..];
        }
        !seen
    }

    /// A request without a chunked body is here: what was read before it is of no use.
    pub fn forget(&self) {
        let mut h = self.0.borrow_mut();
        let gone = h.len().saturating_sub(2048);
        h.drain(..gone);
        h.shrink_to(4096);
    }
}
