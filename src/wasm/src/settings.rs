// SPDX-License-Identifier: Apache-2.0
//! What compiled code depends on, in one place for both halves: a difference is CORRUPT code.

use crate::ffi::{Code, Fail};
use wasmtime::Config;

/// struct berth_wasm_settings.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Settings {
    size: usize,
    profile: u32,
    pub fuel: bool,
}

impl Settings {
    pub fn serves(&self) -> bool {
        self.profile == 2
    }

    pub fn config(&self) -> Result<Config, Fail> {
        if self.size != size_of::<Settings>() || !(1..=2).contains(&self.profile) {
            return Err(Fail::new(Code::Invalid, "profile", "no such settings"));
        }
        let mut c = Config::new();
        c.epoch_interruption(self.serves());
        c.consume_fuel(self.fuel);
        // Nothing of ours walks a stack by tables, and registering them costs each start.
        c.native_unwind_info(false);
        Ok(c)
    }
}
