// SPDX-License-Identifier: Apache-2.0
//! The border itself: what C does for us, its strings and errors, and the wall that no panic passes.

use crate::head::clean;
use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

unsafe extern "C" {
    /// base/error.h
    fn fail(err: *mut c_void, code: c_int, object: *const c_char, format: *const c_char, ...) -> c_int;
}

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

#[derive(Debug)]
pub struct Fail {
    code: Code,
    object: String,
    pub message: String,
}

impl Fail {
    pub fn new(code: Code, object: impl Into<String>, message: impl Into<String>) -> Fail {
        Fail { code, object: object.into(), message: message.into() }
    }
}

impl From<wasmtime::Error> for Fail {
    fn from(e: wasmtime::Error) -> Fail {
        Fail::new(Code::Io, "", format!("{e:#}"))
    }
}

impl From<std::io::Error> for Fail {
    fn from(e: std::io::Error) -> Fail {
        Fail::new(Code::Io, "", e.to_string())
    }
}

/// Cleaned, as a C string.
pub fn cleaned(text: &str) -> CString {
    CString::new(clean(text)).expect("no NUL is left")
}

/// Run `f`; what it returns, or the panic that it died of, as C's code and error.
pub fn guard(err: *mut c_void, f: impl FnOnce() -> Result<c_int, Fail>) -> c_int {
    let failure = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(n)) => return n,
        Ok(Err(e)) => e,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Fail::new(Code::Io, "", format!("the engine failed: {}", text.unwrap_or_default()))
        }
    };
    let (object, message) = (cleaned(&failure.object), cleaned(&failure.message.replace('\n', " ")));
    unsafe { fail(err, failure.code as c_int, object.as_ptr(), c"%s".as_ptr(), message.as_ptr()) }
}

/// A string of C's.
///
/// # Safety
/// It is one.
#[cfg(feature = "worker")]
pub unsafe fn text(s: *const c_char) -> String {
    unsafe { std::ffi::CStr::from_ptr(s) }.to_string_lossy().into_owned()
}

/// The strings of an array.
///
/// # Safety
/// NULL is at its end.
#[cfg(feature = "worker")]
pub unsafe fn texts(list: *const *const c_char) -> Vec<String> {
    unsafe { (0..).map(|i| *list.add(i)).take_while(|s| !s.is_null()).map(|s| text(s)).collect() }
}
