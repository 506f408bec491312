// SPDX-License-Identifier: Apache-2.0
//! What compiled code depends on, in one place for both halves: a difference is CORRUPT code.

use crate::ffi::{Code, Fail, fail};
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
            return fail(Code::Invalid, "profile", "no such settings");
        }
        let mut c = Config::new();
        c.epoch_interruption(self.serves());
        c.consume_fuel(self.fuel);
        // Nothing of ours walks a stack by tables, and registering them costs each start.
        c.native_unwind_info(false);
        Ok(c)
    }
}

#[cfg(feature = "compiler")]
pub mod tag {
    use super::*;
    use crate::ffi::{CError, guard, put};
    use std::ffi::{c_char, c_int};
    use std::hash::{Hash, Hasher};
    use wasmtime::Engine;

    /// FNV-1a: the same in every build, which the standard library's hasher does not promise.
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn write(&mut self, bytes: &[u8]) {
            for b in bytes {
                self.0 = (self.0 ^ *b as u64).wrapping_mul(0x100000001b3);
            }
        }
        fn finish(&self) -> u64 {
            self.0
        }
    }

    fn digest(thing: impl Hash) -> u64 {
        let mut h = Fnv(0xcbf29ce484222325);
        thing.hash(&mut h);
        h.finish()
    }

    /// The version that the lock file names: there is no other truth about what was built.
    fn version(lock: &str) -> &str {
        let at = lock.find("name = \"wasmtime\"\nversion = \"").map(|i| i + 29).unwrap_or(0);
        lock[at..].split('"').next().unwrap_or("")
    }

    fn tag(s: &Settings) -> Result<String, Fail> {
        let lock = include_str!("../Cargo.lock");
        let engine = Engine::new(&s.config()?)?;
        Ok(format!(
            "wasmtime-{}-{:016x}-{}{}-{:016x}",
            version(lock),
            digest(lock),
            if s.serves() { "serve" } else { "command" },
            if s.fuel { "-fuel" } else { "" },
            digest(engine.precompile_compatibility_hash())
        ))
    }

    /// # Safety
    /// berth_wasm.h says what the arguments are.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn berth_wasm_tag(s: *const Settings, ret: *mut c_char, room: usize, err: *mut CError) -> c_int {
        guard(err, || {
            let text = tag(unsafe { &*s })?;
            if text.len() >= room {
                return fail(Code::Invalid, "tag", "no room");
            }
            put(&text, unsafe { std::slice::from_raw_parts_mut(ret, room) });
            Ok(0)
        })
    }
}
