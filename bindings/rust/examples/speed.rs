// SPDX-License-Identifier: Apache-2.0
//! What the crate adds to a call: each verb by the C functions alone, then through `dyn Runtime` on
//! tokio, in turn, microseconds a call (median), and the difference.
//!
//!     cargo run --release --example speed -- ENGINE IMAGE [WORD...]
//!
//! Each round is as many calls one after another as its row says; C and the crate take turns, so that a
//! machine that slows down slows down for both.

use berth::{ffi, Berth, Handle, LogOptions, Options, RemoveOptions, Runtime};
use std::ffi::CString;
use std::future::Future;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

const ROUNDS: usize = 41;

struct Sides<'a> {
    tokio: &'a tokio::runtime::Runtime,
    berth: &'a Berth,
    dynamic: &'a dyn Runtime,
    handle: &'a Handle,
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn per_call(calls: usize, mut one: impl FnMut()) -> f64 {
    let begin = Instant::now();
    for _ in 0..calls {
        one();
    }
    begin.elapsed().as_secs_f64() * 1e6 / calls as f64
}

impl Sides<'_> {
    fn compare<F: Future>(&self, name: &str, calls: usize, c: impl Fn(), crate_: impl Fn() -> F) -> f64 {
        let (mut by_c, mut by_crate, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let rust = || {
                self.tokio.block_on(async {
                    let begin = Instant::now();
                    for _ in 0..calls {
                        crate_().await;
                    }
                    begin.elapsed().as_secs_f64() * 1e6 / calls as f64
                })
            };
            let (first, second) = if round % 2 == 0 {
                (per_call(calls, &c), rust())
            } else {
                let second = rust();
                (per_call(calls, &c), second)
            };
            by_c.push(first);
            by_crate.push(second);
            added.push(second - first);
        }
        let added = median(added);
        println!("{name:<16} {:>10.2} {:>10.2} {added:>+10.2}", median(by_c), median(by_crate));
        added
    }
}

fn ok(r: i32) {
    assert!(r >= 0, "a call failed: {r}");
}

/// A call of the library, waited for by poll(2): what a C program does.
fn c_call(begin: impl FnOnce(*mut *mut ffi::berth_call) -> i32) {
    let mut call = null_mut();
    ok(begin(&mut call));
    // SAFETY: the call is live until it is freed
    unsafe {
        let mut result: ffi::berth_result = std::mem::zeroed();
        while ffi::berth_call_finish(call, &mut result, null_mut()) == -1011 {
            let mut poll = libc::pollfd { fd: ffi::berth_call_fd(call), events: libc::POLLIN, revents: 0 };
            libc::poll(&mut poll, 1, -1);
        }
        ffi::berth_exec_result_free(result.exec);
        ffi::berth_status_free(result.status);
        ffi::berth_call_free(call);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [engine, image, inside @ ..] = words.as_slice() else {
        eprintln!("usage: speed ENGINE IMAGE [WORD...]   (the words: argv of the exec)");
        std::process::exit(2);
    };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let berth = Berth::open(engine, &Options::default())?;
    let command =
        if engine == "fake" { r#"["wait"]"# } else { r#"["/bin/sh", "-c", "while :; do sleep 1000; done"]"# };
    let spec = format!(r#"{{"name": "speed", "image": "{image}", "network": "none", "command": {command}}}"#);
    let handle = tokio.block_on(async {
        let handle = berth.create(&spec).await?;
        berth.start(&handle).await?;
        Ok::<_, berth::Error>(handle)
    })?;
    let sides = Sides { tokio: &tokio, berth: &berth, dynamic: &berth, handle: &handle };
    println!("{:<16} {:>10} {:>10} {:>10}   (us a call, median of {ROUNDS})", engine, "C", "crate", "added");
    let worst = rows(&sides, inside);
    tokio.block_on(berth.remove(&handle, RemoveOptions { force: true, volumes: true }))?;
    println!("the crate adds at most {worst:.1} us a call");
    Ok(())
}

fn rows(s: &Sides, inside: &[String]) -> f64 {
    let (raw, h) = (s.berth.as_raw(), s.handle.as_raw());
    let argv: Vec<CString> = inside.iter().map(|w| CString::new(w.as_str()).unwrap()).collect();
    let pointers: Vec<_> = argv.iter().map(|w| w.as_ptr()).chain([null()]).collect();
    let argv: Vec<&str> = inside.iter().map(String::as_str).collect();
    // SAFETY: runtime and handle are live in all that follows
    let mut added = vec![
        s.compare(
            "status",
            200,
            || c_call(|c| unsafe { ffi::berth_status_call(raw, h, c, null_mut()) }),
            || s.dynamic.status(s.handle),
        ),
        s.compare(
            "stats",
            200,
            || {
                let mut stats: ffi::berth_stats = unsafe { std::mem::zeroed() };
                ok(unsafe { ffi::berth_stats(raw, h, &mut stats, null_mut()) });
            },
            || s.dynamic.stats(s.handle),
        ),
        s.compare(
            "resolve",
            200,
            || {
                let port = ffi::berth_port { number: 80, protocol: [0; 6] };
                let mut host: ffi::berth_host_port = unsafe { std::mem::zeroed() };
                ok(unsafe { ffi::berth_resolve_host_port(raw, h, &port, &mut host, null_mut()) });
            },
            || s.dynamic.resolve_host_port(s.handle, 80),
        ),
        s.compare(
            "logs, read",
            20,
            || unsafe {
                let mut stream = null_mut();
                ok(ffi::berth_logs(raw, h, null(), &mut stream, null_mut()));
                let mut room = [0u8; 4096];
                while libc::read(ffi::berth_stream_fd(stream), room.as_mut_ptr().cast(), room.len()) > 0 {}
                ffi::berth_stream_free(stream);
            },
            || async { s.dynamic.logs(s.handle, LogOptions::default()).await.unwrap().rest().await.unwrap() },
        ),
    ];
    if !argv.is_empty() {
        added.push(s.compare(
            "exec",
            10,
            || c_call(|c| unsafe { ffi::berth_exec_call(raw, h, pointers.as_ptr(), null(), c, null_mut()) }),
            || s.dynamic.exec(s.handle, &argv),
        ));
    }
    added.push(s.compare(
        "restart",
        4,
        || c_call(|c| unsafe { ffi::berth_restart_call(raw, h, 0, c, null_mut()) }),
        || s.dynamic.restart(s.handle, Some(Duration::ZERO)),
    ));
    added.into_iter().fold(0.0, f64::max)
}
