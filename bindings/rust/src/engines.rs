// SPDX-License-Identifier: Apache-2.0
//! What one engine alone can do, behind a checked downcast: [`Berth::fake`] and [`Berth::container`]
//! answer UNSUPPORTED for another's runtime, as the library's functions do.

use crate::berth::Berth;
use crate::call::Call;
use crate::error::{empty, Error, Result};
use crate::ffi;
use crate::runtime::Runtime;
use crate::text::{c_text, take_text};
use crate::types::Handle;
use std::mem::size_of;
use std::ptr::{null, null_mut};

fn done(r: i32, err: &ffi::berth_error) -> Result<()> {
    if r < 0 {
        return Err(Error::from_raw(r, err));
    }
    Ok(())
}

/// The engine in memory, for callers' own tests (`<berth/fake.h>`).
pub struct Fake<'a>(&'a Berth);

/// The container engine's images and volumes (`<berth/container.h>`).
pub struct Container<'a>(&'a Berth);

impl Berth {
    /// This runtime as the fake one.
    pub fn fake(&self) -> Result<Fake<'_>> {
        self.is("fake")?;
        Ok(Fake(self))
    }

    /// This runtime as one of containers.
    pub fn container(&self) -> Result<Container<'_>> {
        self.is("container")?;
        Ok(Container(self))
    }

    fn is(&self, engine: &str) -> Result<()> {
        if self.name() == engine {
            return Ok(());
        }
        Err(Error::unsupported(self.name(), engine))
    }
}

impl Fake<'_> {
    /// End the program of a running workload as if by itself.
    pub fn exit(&self, handle: &Handle, exit_code: i32) -> Result<()> {
        let mut err = empty();
        // SAFETY: runtime and handle are live
        done(unsafe { ffi::berth_fake_exit(self.0.as_raw(), handle.as_raw(), exit_code, &mut err) }, &err)
    }

    /// Append bytes to a workload's log (1: standard output, 2: standard error).
    pub fn write(&self, handle: &Handle, stream: u32, data: &[u8]) -> Result<()> {
        let mut err = empty();
        // SAFETY: the data is borrowed for the call
        let r = unsafe {
            let (runtime, handle) = (self.0.as_raw(), handle.as_raw());
            ffi::berth_fake_write(runtime, handle, stream, data.as_ptr().cast(), data.len(), &mut err)
        };
        done(r, &err)
    }

    /// Move the runtime's clock forward.
    pub fn advance(&self, by: std::time::Duration) -> Result<()> {
        let mut err = empty();
        // SAFETY: the runtime is live
        done(unsafe { ffi::berth_fake_advance(self.0.as_raw(), by.as_micros() as i64, &mut err) }, &err)
    }
}

impl Container<'_> {
    /// Make an image called `reference` of a folder or a tar; `config` is the image's, JSON.
    pub async fn image_import(&self, source: &str, reference: &str, config: Option<&str>) -> Result<()> {
        let (source, reference) = (c_text("source", source)?, c_text("reference", reference)?);
        let config = config.map(|c| c_text("config", c)).transpose()?;
        let call = Call::begin(self.0.opened(), |runtime, call, err| {
            let options = ffi::berth_image_import_options {
                size: size_of::<ffi::berth_image_import_options>(),
                source: source.as_ptr(),
                input_fd: -1,
                reference: reference.as_ptr(),
                config_json: config.as_ref().map_or(null(), |c| c.as_ptr()),
                platform: null(),
                progress: false,
            };
            // SAFETY: the texts live as long as the call
            unsafe { ffi::berth_image_import_call(runtime, &options, call, err) }
        })?;
        call.outcome().await.map(|_| ())
    }

    /// Load an OCI layout (folder or tar) or a docker archive; `reference` instead of the names inside.
    pub async fn image_load(&self, source: &str, reference: Option<&str>) -> Result<()> {
        let source = c_text("source", source)?;
        let reference = reference.map(|r| c_text("reference", r)).transpose()?;
        let call = Call::begin(self.0.opened(), |runtime, call, err| {
            let options = ffi::berth_image_load_options {
                size: size_of::<ffi::berth_image_load_options>(),
                source: source.as_ptr(),
                reference: reference.as_ref().map_or(null(), |r| r.as_ptr()),
                platform: null(),
                progress: false,
            };
            // SAFETY: the texts live as long as the call
            unsafe { ffi::berth_image_load_call(runtime, &options, call, err) }
        })?;
        call.outcome().await.map(|_| ())
    }

    /// Get an image from its registry, if it is not here already.
    pub async fn image_pull(&self, reference: &str) -> Result<()> {
        let reference = c_text("reference", reference)?;
        let call = Call::begin(self.0.opened(), |runtime, call, err| {
            let options = ffi::berth_image_pull_options {
                size: size_of::<ffi::berth_image_pull_options>(),
                reference: reference.as_ptr(),
                platform: null(),
                policy: c"missing".as_ptr(),
                progress: false,
            };
            // SAFETY: the texts live as long as the call
            unsafe { ffi::berth_image_pull_call(runtime, &options, call, err) }
        })?;
        call.outcome().await.map(|_| ())
    }

    fn json(
        &self,
        ask: impl FnOnce(*mut ffi::berth_runtime, *mut *mut libc::c_char, *mut ffi::berth_error) -> i32,
    ) -> Result<String> {
        let (mut text, mut err) = (null_mut(), empty());
        done(ask(self.0.as_raw(), &mut text, &mut err), &err)?;
        // SAFETY: on success a string of malloc(3), ours
        Ok(unsafe { take_text(text) })
    }

    /// All images, as the library's JSON.
    pub fn image_list(&self) -> Result<String> {
        // SAFETY: the runtime is live, here and below
        self.json(|runtime, text, err| unsafe { ffi::berth_image_list(runtime, text, err) })
    }

    /// All volumes, as the library's JSON.
    pub fn volume_list(&self) -> Result<String> {
        self.json(|runtime, text, err| unsafe { ffi::berth_volume_list(runtime, text, err) })
    }

    /// Remove volumes that no workload uses: the anonymous ones, or `all`. What went, as JSON.
    pub fn volume_prune(&self, all: bool) -> Result<String> {
        self.json(|runtime, text, err| unsafe { ffi::berth_volume_prune(runtime, all, text, err) })
    }

    /// Remove a volume. WRONG_STATE while a workload uses it.
    pub fn volume_remove(&self, name: &str) -> Result<()> {
        let (name, mut err) = (c_text("name", name)?, empty());
        // SAFETY: the text lives as long as the call
        done(unsafe { ffi::berth_volume_remove(self.0.as_raw(), name.as_ptr(), &mut err) }, &err)
    }

    /// Remove a reference. WRONG_STATE while a workload uses the image, unless `force`.
    pub fn image_remove(&self, reference: &str, force: bool) -> Result<()> {
        let (reference, mut err) = (c_text("reference", reference)?, empty());
        // SAFETY: the text lives as long as the call
        done(unsafe { ffi::berth_image_remove(self.0.as_raw(), reference.as_ptr(), force, &mut err) }, &err)
    }
}
