// SPDX-License-Identifier: Apache-2.0
//! What the Wasm worker itself reads of a request: however it comes in pieces, the same is found; what passes as a host is one;
//! what goes to a log is printable.

#[path = "../src/wasm/src/head.rs"]
#[allow(dead_code)]
mod head;

use head::{Heads, clean, good_host};

/// Slowly and by the letter: some head that begins with this line has both.
fn oracle(all: &[u8], line: &[u8]) -> bool {
    let (mut found, mut seen) = (false, false);
    let mut at = 0;
    while at < all.len() {
        if !all[at..].starts_with(line) {
            at += 1;
            continue;
        }
        seen = true;
        let rest = &all[at..];
        at += line.len();
        let ends = [&b"\r\n\r\n"[..], &b"\n\n"[..]];
        let end = ends.iter().find_map(|e| (0..rest.len()).find(|i| rest[*i..].starts_with(e))).unwrap_or(rest.len());
        let names: Vec<String> = rest[..end]
            .split(|b| *b == b'\n')
            .skip(1)
            .map(|l| String::from_utf8_lossy(l.split(|b| *b == b':').next().unwrap_or_default().trim_ascii()).to_lowercase())
            .collect();
        let has = |name: &str| names.iter().any(|n| n == name);
        found |= has("content-length") && has("transfer-encoding");
    }
    found || !seen
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> i32 {
    let data = if size == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(data, size) } };
    if size > 8192 {
        return 0;
    }
    let line = data.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return 0 };
    if !line.is_empty() {
        let whole = oracle(data, line.as_bytes());
        for piece in [1, 7, 4096] {
            let heads = Heads::default();
            data.chunks(piece).for_each(|p| heads.remember(p));
            assert_eq!(heads.have_both_lengths(line), whole);
        }
    }
    for text in data.split(|b| *b == b'\n').filter_map(|l| std::str::from_utf8(l).ok()) {
        let host = text.strip_prefix("Host: ").unwrap_or(text);
        if good_host(host) {
            assert!(!host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%".contains(&b)));
        }
        assert!(clean(text).bytes().all(|b| (b' '..=b'~').contains(&b)));
    }
    0
}
