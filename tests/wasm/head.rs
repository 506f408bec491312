// SPDX-License-Identifier: Apache-2.0
//! Unit tests of what the crate reads by itself, without the engine around it.

#[path = "../../src/wasm/src/head.rs"]
mod head;

use head::{Heads, clean, good_host};

const BOTH: &[u8] = b"POST /b HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
const ONE: &[u8] = b"POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";

fn heads(pieces: &[&[u8]]) -> Heads {
    let h = Heads::default();
    pieces.iter().for_each(|p| h.remember(p));
    h
}

#[test]
fn both_lengths_are_found_however_they_arrive() {
    assert!(heads(&[BOTH]).have_both_lengths("POST /b "));
    let (a, b) = BOTH.split_at(47);
    assert!(heads(&[a, b]).have_both_lengths("POST /b "));
    assert!(heads(&[ONE, BOTH]).have_both_lengths("POST /b "));
    for name in ["content-length :", "CONTENT-LENGTH:", "\tContent-Length:"] {
        let text = format!("POST /b HTTP/1.1\nTransfer-Encoding: x\n{name} 3\n\n");
        assert!(heads(&[text.as_bytes()]).have_both_lengths("POST /b "), "{name}");
    }
}

#[test]
fn one_length_is_none_of_its_neighbours() {
    assert!(!heads(&[ONE]).have_both_lengths("POST /a "));
    assert!(!heads(&[ONE, BOTH]).have_both_lengths("POST /a "));
    let body = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nContent-Length: 3\r\n\r\n";
    assert!(!heads(&[body]).have_both_lengths("POST /a "));
}

#[test]
fn what_is_no_longer_there_is_doubtful() {
    assert!(heads(&[]).have_both_lengths("POST /a "));
    let h = heads(&[ONE]);
    for _ in 0..40 {
        h.remember(&[b'x'; 1000]);
    }
    assert!(h.have_both_lengths("POST /a "));
}

#[test]
fn what_was_read_ahead_is_not_forgotten() {
    let h = heads(&[&[b'x'; 5000], BOTH]);
    h.forget();
    assert!(h.have_both_lengths("POST /b "));
    h.remember(ONE);
    assert!(!h.have_both_lengths("POST /a "));
}

#[test]
fn hosts_are_names_or_addresses_with_a_port_or_none() {
    for good in ["a", "a.example:8080", "127.0.0.1", "[::1]", "[fd00::7]:443", "a_b~c-d", "a:0"] {
        assert!(good_host(good), "{good}");
    }
    let long = "a".repeat(256);
    for bad in
        ["", ":80", "a b", "a/b", "u@a", "a:", "a:65536", "a:-1", "a:+1", "[::1", "::1", "[]", "[1.2.3.4]", "a\0", "ü", &long]
    {
        assert!(!good_host(bad), "{bad}");
    }
}

#[test]
fn text_of_others_is_printable() {
    assert_eq!(clean("a b\\\n\x1b[2Jü"), "a b\\\\\\x0a\\x1b[2J\\xc3\\xbc");
}
