// SPDX-License-Identifier: Apache-2.0
//! Run workloads on Linux, OCI containers and WebAssembly modules, through one interface: a name and
//! ten verbs.
//!
//! [`Runtime`] is the trait that an orchestrator holds as `Box<dyn Runtime>`; [`Berth`] is the one
//! over libberth, asynchronous on tokio. Errors are values with a code to act on ([`Error`]); states
//! are the seven that orchestrators know ([`State`]), berth's own word beside them ([`Word`]).
//!
//! ```no_run
//! use berth::{Berth, LogOptions, Options, RemoveOptions, Runtime};
//!
//! # async fn one() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime: Box<dyn Runtime> = Box::new(Berth::open("container", &Options::default())?);
//! let web = runtime.create(r#"{"name": "web", "image": "nginx:1.27", "ports": ["80"]}"#).await?;
//! runtime.start(&web).await?;
//! println!("port {:?}", runtime.resolve_host_port(&web, 80).await);
//! let mut logs = runtime.logs(&web, LogOptions { follow: true, ..Default::default() }).await?;
//! while let Some(bytes) = logs.chunk().await? {
//!     print!("{}", String::from_utf8_lossy(&bytes));
//! }
//! runtime.remove(&web, RemoveOptions { force: true, ..Default::default() }).await?;
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

mod berth;
mod call;
mod engines;
mod error;
pub mod ffi;
mod runtime;
mod stream;
pub mod text;
mod types;

pub use crate::berth::{Berth, Options};
pub use crate::engines::{Container, Fake};
pub use crate::error::{Code, Error, Result};
pub use crate::runtime::{Ended, Pending, Runtime, Session};
pub use crate::stream::{ByteStream, Frame, Pipe};
pub use crate::types::*;
