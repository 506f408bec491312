// SPDX-License-Identifier: Apache-2.0
//! Text between Rust and C: arrays with a NUL in them, and what C wants borrowed.

use crate::error::{Code, Error, Result};
use libc::c_char;
use std::ffi::{CStr, CString};

/// Text of an array up to its NUL; what is not UTF-8 is replaced.
pub fn read_text(from: &[c_char]) -> String {
    let bytes: Vec<u8> = from.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Write text into an array, cut (between characters) so that a NUL fits behind it.
pub fn write_text(to: &mut [c_char], text: &str) {
    let mut end = text.len().min(to.len() - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    to.fill(0);
    for (place, byte) in to.iter_mut().zip(&text.as_bytes()[..end]) {
        *place = *byte as c_char;
    }
}

/// Text for a C function, which ends at its first NUL: one inside is INVALID.
pub fn c_text(what: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Code::Invalid, what, format!("{what}: a NUL inside the text")))
}

/// A NULL-terminated array of texts.
pub struct CList {
    _texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl CList {
    /// Of `texts`, for as long as the list lives.
    pub fn new<T: AsRef<str>>(what: &str, texts: &[T]) -> Result<CList> {
        let texts = texts.iter().map(|t| c_text(what, t.as_ref())).collect::<Result<Vec<_>>>()?;
        let pointers = texts.iter().map(|t| t.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(CList { _texts: texts, pointers })
    }

    /// What C takes.
    pub fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Own copy of a C string; empty for NULL.
///
/// # Safety
/// `text` is NULL or ends with a NUL.
pub unsafe fn copy_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    CStr::from_ptr(text).to_string_lossy().into_owned()
}

/// Take a string that free(3) frees.
///
/// # Safety
/// `text` is NULL or a string of malloc(3) that is nobody else's.
pub unsafe fn take_text(text: *mut c_char) -> String {
    let copy = copy_text(text);
    libc::free(text.cast());
    copy
}
