// SPDX-License-Identifier: Apache-2.0
//! The border itself: C's error value, strings and arrays, and the wall that no panic passes.

#[cfg(feature = "worker")]
use std::ffi::CStr;
use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// enum berth_code, those that are used here.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(i32)]
#[cfg_attr(not(feature = "worker"), allow(dead_code))]
pub enum Code {
    Invalid = -1001,
    NotFound = -1002,
    Unsupported = -1005,
    Io = -1012,
    Corrupt = -1013,
}

/// struct berth_error.
#[repr(C)]
pub struct CError {
    code: i32,
    os_error: i32,
    object: [c_char; 136],
    message: [c_char; 880],
}

pub struct Fail {
    pub code: Code,
    pub object: String,
    pub message: String,
}

pub fn fail<T>(code: Code, object: &str, message: impl Into<String>) -> Result<T, Fail> {
    Err(Fail { code, object: object.into(), message: message.into() })
}

impl From<wasmtime::Error> for Fail {
    fn from(e: wasmtime::Error) -> Fail {
        Fail { code: Code::Io, object: String::new(), message: format!("{e:#}") }
    }
}

impl From<std::io::Error> for Fail {
    fn from(e: std::io::Error) -> Fail {
        Fail { code: Code::Io, object: String::new(), message: e.to_string() }
    }
}

/// Text of somebody else's, fit for a terminal: printable ASCII stays, the rest is \xHH.
pub fn clean(text: &str, keep_lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'\n' if keep_lines => out.push('\n'),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(b as char),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out
}

/// Copy as much of an ASCII text as has room, NUL-terminated.
pub fn put(text: &str, room: &mut [c_char]) {
    let n = text.len().min(room.len() - 1);
    for (to, from) in room.iter_mut().zip(text.bytes().take(n)) {
        *to = from as c_char;
    }
    room[n] = 0;
}

fn report(f: &Fail, err: *mut CError) -> c_int {
    if let Some(e) = unsafe { err.as_mut() } {
        e.code = f.code as i32;
        e.os_error = 0;
        put(&clean(&f.object, false), &mut e.object);
        put(&clean(&f.message.replace('\n', " "), false), &mut e.message);
    }
    f.code as c_int
}

/// Run `f`; what it returns, or the panic that it died of, as C's code and error.
pub fn guard(err: *mut CError, f: impl FnOnce() -> Result<c_int, Fail>) -> c_int {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(n)) => n,
        Ok(Err(e)) => report(&e, err),
        Err(panic) => {
            let why = panic
                .downcast_ref::<&str>()
                .map(|s| s.to_string())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            report(&Fail { code: Code::Io, object: String::new(), message: format!("the engine failed: {why}") }, err)
        }
    }
}

/// A C string as UTF-8; INVALID names what it was.
///
/// # Safety
/// `s` is NULL or a string.
#[cfg(feature = "worker")]
pub unsafe fn text<'a>(s: *const c_char, what: &str) -> Result<&'a str, Fail> {
    if s.is_null() {
        return fail(Code::Invalid, what, format!("{what} is missing"));
    }
    match unsafe { CStr::from_ptr(s) }.to_str() {
        Ok(t) => Ok(t),
        Err(_) => {
            let shown = unsafe { CStr::from_ptr(s) }.to_string_lossy().into_owned();
            fail(Code::Invalid, what, format!("{what} \"{shown}\" is not UTF-8"))
        }
    }
}

/// The strings of a NULL-terminated array.
///
/// # Safety
/// `list` is NULL or such an array.
#[cfg(feature = "worker")]
pub unsafe fn texts(mut list: *const *const c_char, what: &str) -> Result<Vec<String>, Fail> {
    let mut all = Vec::new();
    unsafe {
        while !list.is_null() && !(*list).is_null() {
            all.push(text(*list, what)?.to_string());
            list = list.add(1);
        }
    }
    Ok(all)
}

/// A function that frees what another one made; NULL is nothing.
#[cfg(feature = "worker")]
macro_rules! freed {
    ($name:ident, $owner:ty) => {
        /// # Safety
        /// NULL, or what berth_wasm.h says, which nobody uses any more.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(p: *mut std::ffi::c_void) {
            if !p.is_null() {
                crate::ffi::guard(std::ptr::null_mut(), || {
                    drop(unsafe { <$owner>::from_raw(p.cast()) });
                    Ok(0)
                });
            }
        }
    };
}
#[cfg(feature = "worker")]
pub(crate) use freed;
