// SPDX-License-Identifier: Apache-2.0
//! What berth-contract asks of the container engine beside the table, asked by the crate: the image of its
//! programs when a runtime is opened, volumes that nobody uses any more when it is closed.

use crate::reactor::Reactor;
use berth::{Berth, Container, Result, Runtime};

const REFERENCE: &str = "contract:1";

fn wanted(runtime: &dyn Runtime) -> Option<(String, Container<'_>)> {
    let image = std::env::var("BERTH_RUST_IMAGE").ok()?;
    let container = runtime.downcast_ref::<Berth>()?.container().ok()?;
    Some((image, container))
}

/// The image is there.
pub fn open(runtime: &dyn Runtime, reactor: &Reactor) -> Result<()> {
    let Some((image, container)) = wanted(runtime) else { return Ok(()) };
    if container.image_list().is_ok_and(|list| list.contains(REFERENCE)) {
        return Ok(());
    }
    reactor.block_on(container.image_load(&image, Some(REFERENCE)))
}

/// No volume is left that no workload uses.
pub fn close(runtime: &dyn Runtime) {
    if let Some((_, container)) = wanted(runtime) {
        let _ = container.volume_prune(true);
    }
}
