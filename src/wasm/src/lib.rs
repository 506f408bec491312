// SPDX-License-Identifier: Apache-2.0
//! The engine behind berth_wasm.h: everything of berth's that is Rust.
//!
//! It exists because the engine's plain C interface can't serve HTTP, judge an address before it is connected, or
//! wake an event loop. What C can do as well (options, files, rules, signals, printing) is done there.

mod ffi;
#[cfg_attr(not(feature = "worker"), allow(dead_code))]
mod head;
mod settings;

#[cfg(feature = "compiler")]
mod compile;

#[cfg(feature = "worker")]
mod engine;
#[cfg(feature = "worker")]
mod guest;
#[cfg(feature = "worker")]
mod invoke;
#[cfg(feature = "worker")]
mod log;
#[cfg(feature = "worker")]
mod net;
#[cfg(feature = "worker")]
mod reply;
#[cfg(feature = "worker")]
mod run;
#[cfg(feature = "worker")]
mod serve;
#[cfg(feature = "worker")]
mod turn;
#[cfg(feature = "worker")]
mod wire;
