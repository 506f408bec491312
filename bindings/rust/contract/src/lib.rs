// SPDX-License-Identifier: Apache-2.0
//! Engines "rust-container", "rust-wasm", "rust-docker", "rust-fake": a C table (`struct berth_engine`)
//! over `Box<dyn Runtime>`, so that berth-contract judges the crate as it judges any engine:
//!
//!     berth-contract --engine rust-fake --steps --load libberth_rust.so
//!
//! One thread waits for tokio's descriptors and feeds log streams. Futures are polled by whoever steps
//! the C call, and their waker is the descriptor that the C caller polls. Dropping a future is the
//! cancel.
//!
//! What berth-contract does by the container engine's own header it can't do through a stranger's table: make
//! its image before the first case, remove the volumes that a case left. With $BERTH_RUST_IMAGE, an OCI
//! layout, both are done here by the crate (`own.rs`); what cases themselves do by it is in `container.table`.

mod convert;
mod job;
mod own;
mod reactor;
mod table;

use berth::ffi;

/// Before main, or when it is loaded: as `--load` asks for.
#[used]
#[link_section = ".init_array"]
static REGISTER: extern "C" fn() = register;

extern "C" fn register() {
    for engine in &table::ENGINES {
        // SAFETY: the tables live as long as the process; one that is there already stays
        unsafe { ffi::berth_register(&engine.0, std::ptr::null_mut()) };
    }
}
