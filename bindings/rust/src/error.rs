// SPDX-License-Identifier: Apache-2.0
//! One failure, as the library says it: a code to act on, what it is about, a line for people.

use crate::ffi;
use crate::text::{read_text, write_text};

/// What went wrong, coarsely enough to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // each is `enum berth_code`'s, which says what it means
pub enum Code {
    Invalid,
    NotFound,
    Exists,
    WrongState,
    Unsupported,
    Denied,
    NoMemory,
    NoSpace,
    TimedOut,
    Cancelled,
    Again,
    Io,
    Corrupt,
    NoProgram,
    NotExecutable,
    NoKernel,
    Lost,
    TooBig,
    /// A code of a newer library.
    Other(i32),
}

const CODES: [(Code, i32); 18] = [
    (Code::Invalid, -1001),
    (Code::NotFound, -1002),
    (Code::Exists, -1003),
    (Code::WrongState, -1004),
    (Code::Unsupported, -1005),
    (Code::Denied, -1006),
    (Code::NoMemory, -1007),
    (Code::NoSpace, -1008),
    (Code::TimedOut, -1009),
    (Code::Cancelled, -1010),
    (Code::Again, -1011),
    (Code::Io, -1012),
    (Code::Corrupt, -1013),
    (Code::NoProgram, -1014),
    (Code::NotExecutable, -1015),
    (Code::NoKernel, -1016),
    (Code::Lost, -1017),
    (Code::TooBig, -1018),
];

impl Code {
    /// The code of a number of `enum berth_code`.
    pub fn from_number(number: i32) -> Code {
        CODES.iter().find(|(_, n)| *n == number).map_or(Code::Other(number), |(code, _)| *code)
    }

    /// Its number in `enum berth_code`.
    pub fn number(self) -> i32 {
        match self {
            Code::Other(number) => number,
            code => CODES.iter().find(|(c, _)| *c == code).map_or(-1012, |(_, n)| *n),
        }
    }

    /// The constant's name without its prefix: "NOT_FOUND".
    pub fn name(self) -> &'static str {
        // SAFETY: the answer is a constant string of the library
        unsafe { std::ffi::CStr::from_ptr(ffi::berth_code_name(self.number())) }.to_str().unwrap_or("UNKNOWN")
    }
}

/// A failed verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What to act on.
    pub code: Code,
    /// errno behind it, or 0.
    pub os_error: i32,
    /// What it is about: a name, an id, a path, a field of the spec; may be empty.
    pub object: String,
    /// One line for people.
    pub message: String,
}

/// What every verb returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure of this side.
    pub fn new(code: Code, object: &str, message: impl Into<String>) -> Error {
        Error { code, os_error: 0, object: object.into(), message: message.into() }
    }

    /// "this runtime does not do that", as the library says it.
    pub fn unsupported(runtime: &str, method: &str) -> Error {
        Error::new(Code::Unsupported, method, format!("{method}: the engine \"{runtime}\" does not do that"))
    }

    /// A failed call to the system.
    pub fn io(what: &str, e: &std::io::Error) -> Error {
        Error {
            os_error: e.raw_os_error().unwrap_or(0),
            ..Error::new(Code::Io, what, format!("{what}: {e}"))
        }
    }

    /// Of the library's value.
    pub fn from_raw(code: i32, raw: &ffi::berth_error) -> Error {
        Error {
            code: Code::from_number(code),
            os_error: raw.os_error,
            object: read_text(&raw.object),
            message: read_text(&raw.message),
        }
    }

    /// As the library's value, cut where its fields end.
    pub fn to_raw(&self) -> ffi::berth_error {
        let mut raw = empty();
        raw.code = self.code.number();
        raw.os_error = self.os_error;
        write_text(&mut raw.object, &self.object);
        write_text(&mut raw.message, &self.message.replace('\n', " "));
        raw
    }
}

/// The place for a failure that a call of the library writes.
pub(crate) fn empty() -> ffi::berth_error {
    // SAFETY: integers and arrays of them; all zero is "no failure"
    unsafe { std::mem::zeroed() }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code.name())
    }
}

impl std::error::Error for Error {}
