// SPDX-License-Identifier: Apache-2.0
//! The trait that orchestrators know, and what its methods hand back.

use crate::error::{Error, Result};
use crate::stream::{ByteStream, Pipe};
use crate::types::*;
use std::any::Any;
use std::future::Future;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// What the methods return: boxed, so that `dyn Runtime` is a type. Nothing happens before it is
/// polled.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn ready<'a, T: Send + 'a>(value: T) -> Pending<'a, T> {
    Box::pin(std::future::ready(value))
}

macro_rules! absent {
    ($self:ident, $method:literal) => {
        ready(Err(Error::unsupported($self.name(), $method)))
    };
}

/// A runtime of workloads: a name and ten verbs, then what most engines share.
///
/// Dropping a future cancels, as `berth_call_cancel` says: create and start are undone, stop and
/// remove go on without the caller, an exec is killed. What it undoes it undoes behind the drop;
/// await the future to know.
///
/// [`crate::Berth`] is the one over libberth. Whoever implements another writes the verbs without a
/// default; the rest answers `None` or UNSUPPORTED.
pub trait Runtime: Any + Send + Sync {
    /// Human-readable name of the runtime: "container", "wasm", "docker".
    fn name(&self) -> &str;

    /// For the checked downcast: `<dyn Runtime>::downcast_ref`. Always `self`.
    fn as_any(&self) -> &dyn Any;

    /// Make everything the workload needs, short of running it. `spec` is the spec document
    /// (berth-spec(5)), JSON. On failure nothing is left behind.
    fn create<'a>(&'a self, spec: &'a str) -> Pending<'a, Result<Handle>>;

    /// Run a created or ended workload. Ready when its program is really running, or with the reason
    /// why it could not.
    fn start<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<()>>;

    /// Ask it to end, wait at most `timeout` (milliseconds count; `None`: the spec's own), then kill
    /// the whole tree. Stopping a stopped one succeeds.
    fn stop<'a>(&'a self, handle: &'a Handle, timeout: Option<Duration>) -> Pending<'a, Result<()>>;

    /// An ended workload and every trace of it. Removing twice succeeds.
    fn remove<'a>(&'a self, handle: &'a Handle, options: RemoveOptions) -> Pending<'a, Result<()>>;

    /// What it is now.
    fn status<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<Status>>;

    /// What its program said, and with `follow` says. A slow or dead reader stops no workload.
    fn logs<'a>(&'a self, handle: &'a Handle, options: LogOptions) -> Pending<'a, Result<ByteStream>>;

    /// One more program inside a running workload; its output is collected.
    fn exec_with<'a>(
        &'a self, handle: &'a Handle, argv: &'a [&'a str], options: ExecOptions,
    ) -> Pending<'a, Result<ExecOutput>>;

    /// [`Runtime::exec_with`] the defaults.
    fn exec<'a>(&'a self, handle: &'a Handle, argv: &'a [&'a str]) -> Pending<'a, Result<ExecOutput>> {
        self.exec_with(handle, argv, ExecOptions::default())
    }

    /// CPU, memory, network, block I/O. WRONG_STATE unless it runs.
    fn stats<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<Stats>>;

    /// The port on this host that reaches a TCP port of the workload, or `None`.
    /// [`Runtime::host_port`] tells why.
    fn resolve_host_port<'a>(&'a self, handle: &'a Handle, container_port: u16) -> Pending<'a, Option<u16>> {
        Box::pin(async move {
            let port = self.host_port(handle, Port::Tcp(container_port)).await;
            port.ok().flatten().map(|p| p.port)
        })
    }

    /// "ip:port" of the workload on a network (`None`: the first of the spec), or `None`.
    /// [`Runtime::container_address`] tells why.
    fn resolve_container_address<'a>(
        &'a self, handle: &'a Handle, container_port: u16, network: Option<&'a str>,
    ) -> Pending<'a, Option<String>> {
        Box::pin(async move {
            let address = self.container_address(handle, Port::Tcp(container_port), network).await;
            address.ok().flatten()
        })
    }

    /* beside the verbs */

    /// As `resolve_host_port`, with protocol, address and error.
    fn host_port<'a>(
        &'a self, handle: &'a Handle, container_port: Port,
    ) -> Pending<'a, Result<Option<HostPort>>> {
        let _ = (handle, container_port);
        ready(Ok(None))
    }

    /// As `resolve_container_address`, with protocol and error: NOT_FOUND for a network that doesn't
    /// exist.
    fn container_address<'a>(
        &'a self, handle: &'a Handle, container_port: Port, network: Option<&'a str>,
    ) -> Pending<'a, Result<Option<String>>> {
        let _ = (handle, container_port, network);
        ready(Ok(None))
    }

    /// A workload by its name or an unambiguous prefix of its id.
    fn find<'a>(&'a self, name_or_prefix: &'a str) -> Pending<'a, Result<Handle>> {
        let _ = name_or_prefix;
        absent!(self, "find")
    }

    /// All workloads, newest first.
    fn list(&self) -> Pending<'_, Result<Vec<Handle>>> {
        absent!(self, "list")
    }

    /// Ready when it has ended and no restart is due.
    fn wait<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<Status>> {
        let _ = handle;
        absent!(self, "wait")
    }

    /// A signal to its main program.
    fn signal<'a>(&'a self, handle: &'a Handle, signal: i32) -> Pending<'a, Result<()>> {
        let _ = (handle, signal);
        absent!(self, "signal")
    }

    /// One more program, whose standard input and output the caller reads and writes while it runs.
    /// It begins at once, not when it is polled.
    fn session(&self, handle: &Handle, argv: &[&str], options: ExecOptions) -> Result<Box<dyn Session>> {
        let _ = (handle, argv, options);
        Err(Error::unsupported(self.name(), "exec"))
    }

    /// The main program's terminal or output; ends with the workload.
    fn attach(&self, handle: &Handle, options: AttachOptions) -> Result<Box<dyn Session>> {
        let _ = (handle, options);
        Err(Error::unsupported(self.name(), "attach"))
    }

    /// Freeze all its processes.
    fn pause<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<()>> {
        let _ = handle;
        absent!(self, "pause")
    }

    /// Let them go on.
    fn unpause<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<()>> {
        let _ = handle;
        absent!(self, "unpause")
    }

    /// Change a running or ended workload: a spec with only the fields to change.
    fn update<'a>(&'a self, handle: &'a Handle, patch: &'a str) -> Pending<'a, Result<()>> {
        let _ = (handle, patch);
        absent!(self, "update")
    }

    /// Give it another name; handles made before stay good.
    fn rename<'a>(&'a self, handle: &'a Handle, name: &'a str) -> Pending<'a, Result<()>> {
        let _ = (handle, name);
        absent!(self, "rename")
    }

    /// Stop and start as one request; followers of its logs go on.
    fn restart<'a>(&'a self, handle: &'a Handle, timeout: Option<Duration>) -> Pending<'a, Result<()>> {
        let _ = (handle, timeout);
        absent!(self, "restart")
    }

    /// What happens to workloads: one JSON object a line.
    fn events(&self, options: EventOptions) -> Pending<'_, Result<ByteStream>> {
        let _ = options;
        absent!(self, "events")
    }

    /// Spec, plan, status and paths as one JSON document.
    fn inspect<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<String>> {
        let _ = handle;
        absent!(self, "inspect")
    }

    /// Running execs as a JSON array.
    fn exec_list<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<String>> {
        let _ = handle;
        absent!(self, "exec_list")
    }

    /// A signal to one of them.
    fn exec_kill<'a>(&'a self, handle: &'a Handle, exec_id: u64, signal: i32) -> Pending<'a, Result<()>> {
        let _ = (handle, exec_id, signal);
        absent!(self, "exec_kill")
    }

    /// What create would do, without doing it.
    fn plan<'a>(&'a self, spec: &'a str) -> Pending<'a, Result<String>> {
        let _ = spec;
        absent!(self, "plan")
    }
}

impl dyn Runtime {
    /// This runtime as the type that it is, for what one engine alone can do.
    pub fn downcast_ref<T: Runtime>(&self) -> Option<&T> {
        self.as_any().downcast_ref()
    }
}

/// What a finished session brings: an exec its exit code, an attach the workload's status.
#[derive(Debug, Default)]
pub struct Ended {
    /// Of an exec; its output went through the pipes.
    pub exec: Option<ExecOutput>,
    /// Of an attach whose workload has ended.
    pub status: Option<Status>,
}

/// A streamed exec or an attach. Dropping it kills an exec (unless it was let go).
pub trait Session: Send {
    /// Ready when it has ended. It must be polled for an engine that does its work in the caller's
    /// process (fake): read the pipes and await `ended` side by side.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Result<Ended>>;
    /// Its standard input (0), output (1), error (2), which stay the session's; `None` where there is
    /// none.
    fn descriptor(&self, number: usize) -> Option<BorrowedFd<'_>>;
    /// The end of its input.
    fn close_stdin(&mut self);
    /// New size for its terminal.
    fn resize(&mut self, rows: u16, columns: u16) -> Result<()>;
    /// A signal to its program.
    fn signal(&mut self, signal: i32) -> Result<()>;
    /// Leave its program running when the session is dropped.
    fn let_go(&mut self) -> Result<()>;
}

impl dyn Session {
    /// Wait for its end.
    pub async fn ended(&mut self) -> Result<Ended> {
        std::future::poll_fn(|context| self.poll_ended(context)).await
    }

    /// A descriptor as something to read or write; `None` where there is none. It is one's own: the
    /// program sees the end of its input after `close_stdin` and when all such pipes of number 0 are
    /// dropped.
    pub fn pipe(&self, number: usize) -> Option<std::io::Result<Pipe>> {
        Some(self.descriptor(number)?.try_clone_to_owned().and_then(Pipe::new))
    }
}
