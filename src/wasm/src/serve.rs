// SPDX-License-Identifier: Apache-2.0
//! wasi:http, served: one event loop for each core, an instance for each request, limits on all of it.

use crate::ffi::{CError, Code, Fail, fail, guard};
use crate::guest::{Guest, Ready, State, World, Worlds};
use crate::log::{Sink, Who};
use crate::page::{Kind, Slot, add, take};
use crate::reply::{Active, Reply, Run, Verdict};
use crate::run::end_of;
use crate::turn::{Turn, give};
use crate::wire::{Clock, Heads, Here, Io, both_lengths, forget};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, WasiHttpView};

const TICK: Duration = Duration::from_millis(10);
/// Ticks without an instance after which nothing ticks any more.
const QUIET: u32 = 100;

/// struct berth_wasm_serve_options.
#[repr(C)]
pub struct Options {
    size: usize,
    listen_fds: *const c_int,
    n_listen_fds: usize,
    rules: Rules,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Rules {
    idle_msec: u64,
    body_bytes: u64,
    response_bytes: u64,
    threads: u32,
    concurrency: u32,
    queue: u32,
    queue_msec: u32,
    reuse: u32,
    connections: u32,
    header_bytes: u32,
    header_msec: u32,
    access_log: bool,
}

fn msec(n: u32) -> Duration {
    Duration::from_millis(n as u64)
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Serving,
    Draining(Instant),
    Dropped,
}

pub struct Shared {
    guest: &'static Guest,
    proxy: ProxyPre<State>,
    rules: Rules,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    connections: Arc<Semaphore>,
    loads: Vec<AtomicUsize>,
    phase: watch::Sender<Phase>,
    idle: AtomicBool,
    running: AtomicUsize,
    event: OwnedFd,
    pub born: Instant,
    pub last_msec: AtomicU64,
    slots: Vec<&'static Slot>,
    quiet: AtomicBool,
    ticker: OnceLock<std::thread::Thread>,
}

impl Shared {
    fn tell(&self) {
        let one = 1u64.to_ne_bytes();
        unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), 8) };
    }

    fn at_work(&self) -> bool {
        self.slots.iter().any(|s| s.active_requests.load(Relaxed) > 0)
    }

    fn drain(&self, deadline: Instant) {
        self.phase.send_modify(|p| {
            *p = match *p {
                Phase::Serving => Phase::Draining(deadline),
                Phase::Draining(d) => Phase::Draining(d.min(deadline)),
                Phase::Dropped => Phase::Dropped,
            }
        });
        self.guest.engine.page.get().draining.store(1, Relaxed);
        self.tell();
    }

    /// The clock of epochs. It stands while no instance is alive, so that an idle worker never wakes.
    fn tick(&self) {
        let mut still = 0;
        while *self.phase.borrow() != Phase::Dropped && self.running.load(Relaxed) > 0 {
            std::thread::sleep(TICK);
            self.guest.engine.engine.increment_epoch();
            still = if self.at_work() { 0 } else { still + 1 };
            if still < QUIET {
                continue;
            }
            self.quiet.store(true, SeqCst);
            fence(SeqCst);
            if !self.at_work() {
                std::thread::park();
            }
            self.quiet.store(false, SeqCst);
            still = 0;
        }
    }

    fn wake_ticker(&self) {
        fence(SeqCst);
        if self.quiet.load(Relaxed) {
            if let Some(t) = self.ticker.get() {
                t.unpark();
            }
        }
    }
}

/// An instance with its store, between two requests where `reuse` says so.
struct Kept {
    store: Store<State>,
    proxy: Option<Proxy>,
    who: Arc<Who>,
    id: u64,
    calls: u32,
}

/// One event loop.
pub struct Thread {
    pub shared: Arc<Shared>,
    pub slot: &'static Slot,
    pub out: Arc<Sink>,
    errors: Arc<Sink>,
    worlds: Arc<Worlds>,
    /// Instances that may answer once more.
    kept: RefCell<Vec<Kept>>,
    index: u64,
    instances: Cell<u64>,
    requests: Cell<u64>,
    connections: Cell<usize>,
    empty: Notify,
}

// ---- a request

/// A request's body, no longer than it may be.
struct Bounded {
    incoming: Incoming,
    left: u64,
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|r| r.map_err(Error::from))),
        };
        let n = frame.data_ref().map_or(0, |d| d.len() as u64);
        if n > self.left {
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
        }
        self.left -= n;
        Poll::Ready(Some(Ok(frame)))
    }
    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}

fn good_host(host: &str) -> bool {
    let (name, port) = match host.rfind(':') {
        Some(n) if !host.ends_with(']') => (&host[..n], &host[n + 1..]),
        _ => (host, "1"),
    };
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let fits = match inner {
        Some(six) => six.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
    };
    fits && name.len() <= 255 && port.parse::<u16>().is_ok()
}

/// One Host, well-formed; where the target has one too, that counts and is what the guest sees.
fn host(req: &mut Request<Incoming>) -> Result<(), StatusCode> {
    let mut all = req.headers().get_all(header::HOST).iter();
    let (first, second) = (all.next().cloned(), all.next().is_some());
    let named = first.as_ref().map(|h| h.to_str().is_ok_and(good_host));
    if second || named == Some(false) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let target = req.uri().authority().map(|a| a.as_str().to_string());
    match (target, first) {
        (Some(t), _) if !good_host(&t) => Err(StatusCode::BAD_REQUEST),
        (Some(t), Some(h)) if req.version() == Version::HTTP_2 && h.as_bytes() != t.as_bytes() => Err(StatusCode::BAD_REQUEST),
        (Some(t), _) => {
            req.headers_mut().insert(header::HOST, HeaderValue::from_str(&t).map_err(|_| StatusCode::BAD_REQUEST)?);
            Ok(())
        }
        (None, Some(_)) => Ok(()),
        (None, None) if req.version() == Version::HTTP_10 => {
            req.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
            Ok(())
        }
        (None, None) => Err(StatusCode::BAD_REQUEST),
    }
}

impl Thread {
    /// What is refused before any instance exists.
    fn check(&self, req: &mut Request<Incoming>, heads: &Option<Heads>) -> Result<(), StatusCode> {
        if let Some(heads) = heads {
            if req.headers().contains_key(header::TRANSFER_ENCODING) {
                if both_lengths(heads, &format!("{} {} ", req.method(), req.uri())) {
                    return Err(StatusCode::BAD_REQUEST);
                }
            } else {
                forget(heads);
            }
        }
        if req.method() == Method::CONNECT {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        host(req)?;
        let limit = self.shared.rules.body_bytes;
        let length = req.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if limit > 0 && length.is_some_and(|n| n > limit) {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(())
    }

    fn next(&self, counter: &Cell<u64>) -> u64 {
        counter.set(counter.get() + 1);
        (counter.get() - 1) * self.shared.slots.len() as u64 + self.index + 1
    }

    /// A line of the worker's own about an instance, on descriptor 2.
    pub fn say(&self, instance: u64, request: u64, text: &str) {
        let who = Who { instance: instance.into(), request: request.into() };
        who.records(text.as_bytes(), &mut |r| self.errors.put(r));
    }

    fn begin(self: &Rc<Self>, req: &Request<Incoming>) -> Active {
        let rules = &self.shared.rules;
        add(&self.slot.requests, 1);
        add(&self.slot.active_requests, 1);
        let line = rules.access_log.then(|| crate::ffi::clean(&format!("{} {}", req.method(), req.uri()), false));
        let begin = rules.access_log.then(Instant::now);
        Active { thread: self.clone(), request: self.next(&self.requests), line, begin, status: 0, bytes: 0, over: true }
    }

    fn plain(&self, mut active: Active, status: StatusCode) -> Response<Reply> {
        active.status = status.as_u16();
        let text = match status {
            StatusCode::SERVICE_UNAVAILABLE => "busy: try again\n",
            StatusCode::GATEWAY_TIMEOUT => "out of time\n",
            StatusCode::PAYLOAD_TOO_LARGE => "too large\n",
            s if s.is_client_error() => "bad request\n",
            _ => "internal error\n",
        };
        let mut r = Response::new(Reply::text(text, Some(active)));
        *r.status_mut() = status;
        r.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            r.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status.is_client_error() {
            r.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        r
    }

    /// Leave to make an instance: at once, or after some waiting in a queue that has an end.
    async fn permit(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let shared = &self.shared;
        if let Ok(p) = shared.permits.clone().try_acquire_owned() {
            return Some(p);
        }
        struct Waiting<'a>(&'a AtomicUsize, &'a Slot);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
                take(&self.1.waiting, 1);
            }
        }
        let before = shared.waiting.fetch_add(1, Relaxed);
        add(&self.slot.waiting, 1);
        let _waiting = Waiting(&shared.waiting, self.slot);
        if before >= shared.rules.queue as usize {
            return None;
        }
        timeout(msec(shared.rules.queue_msec), shared.permits.clone().acquire_owned()).await.ok()?.ok()
    }

    fn world(&self) -> Result<World, Fail> {
        match self.worlds.lock().unwrap().pop() {
            Some(world) => Ok(world),
            None => World::for_service(&self.shared.guest.environment, &self.out, &self.errors),
        }
    }

    /// Tell the log and the counters how an instance failed.
    fn blame(&self, instance: u64, request: u64, error: &wasmtime::Error, refused: Option<u64>) -> Verdict {
        let end = end_of(error, refused);
        let (counter, verdict, word) = match end.kind {
            Kind::Exit => return Verdict::Done,
            Kind::Time => (&self.slot.timeouts, Verdict::OutOfTime, "out of time"),
            Kind::Memory => (&self.slot.memory_outs, Verdict::Trapped, "out of memory"),
            _ => (&self.slot.traps, Verdict::Trapped, "trap"),
        };
        add(counter, 1);
        let asked = if end.asked > 0 { format!(" ({} bytes were refused)", end.asked) } else { String::new() };
        self.say(instance, request, &format!("{word}: {}{asked}\n{}", end.name, end.text));
        verdict
    }

    fn fresh(self: &Rc<Self>) -> Result<Kept, Fail> {
        let (id, world) = (self.next(&self.instances), self.world()?);
        let who = world.who.clone();
        let mut store = self.shared.guest.store(world, Some(self.worlds.clone()), self.slot);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(Turn::default()))));
        Ok(Kept { store, proxy: None, who, id, calls: 0 })
    }

    /// One call, most often the whole life of an instance.
    async fn instance(self: Rc<Self>, req: Request<Bounded>, tx: Answer, request: u64) -> Verdict {
        let (shared, kept) = (self.shared.clone(), self.kept.borrow_mut().pop());
        let mut own = match kept.map_or_else(|| self.fresh(), Ok) {
            Ok(own) => own,
            Err(f) => {
                self.say(0, request, &f.message);
                return Verdict::Trapped;
            }
        };
        own.who.instance.store(own.id, Relaxed);
        own.who.request.store(request, Relaxed);
        own.calls += 1;
        shared.wake_ticker();
        own.store.set_epoch_deadline(1);
        let limit = Duration::from_micros(shared.guest.engine.limits.time_usec);
        let call = async {
            let mut view = own.store.data_mut().http();
            let req = view.new_incoming_request(Scheme::Http, req)?;
            let out = view.new_response_outparam(tx)?;
            let proxy = match own.proxy.take() {
                Some(proxy) => proxy,
                None => shared.proxy.instantiate_async(&mut own.store).await?,
            };
            let done = proxy.wasi_http_incoming_handler().call_handle(&mut own.store, req, out).await;
            own.proxy = Some(proxy);
            done
        };
        match timeout(limit, call).await {
            Ok(Ok(())) => {
                let mut kept = self.kept.borrow_mut();
                if own.calls < shared.rules.reuse && kept.len() * shared.slots.len() < shared.rules.concurrency as usize {
                    kept.push(own);
                }
                Verdict::Done
            }
            Ok(Err(e)) => self.blame(own.id, request, &e, own.store.data().taken.refused),
            Err(_) => {
                add(&self.slot.timeouts, 1);
                self.say(own.id, request, &format!("out of time: {} ms have passed", limit.as_millis()));
                Verdict::OutOfTime
            }
        }
    }

    async fn answer(self: Rc<Self>, mut req: Request<Incoming>, heads: Option<Heads>) -> Response<Reply> {
        let mut active = self.begin(&req);
        if let Err(status) = self.check(&mut req, &heads) {
            add(&self.slot.bad_requests, 1);
            return self.plain(active, status);
        }
        active.over = false;
        let Some(permit) = self.permit().await else {
            add(&self.slot.rejected, 1);
            active.over = true;
            return self.plain(active, StatusCode::SERVICE_UNAVAILABLE);
        };
        let (tx, mut rx) = oneshot::channel();
        let left = if self.shared.rules.body_bytes == 0 { u64::MAX } else { self.shared.rules.body_bytes };
        let life = self.clone().instance(req.map(|incoming| Bounded { incoming, left }), tx, active.request);
        let future = Box::pin(async move {
            let verdict = life.await;
            drop(permit);
            verdict
        });
        let mut run = Some(Run { future, thread: self.clone(), request: active.request });
        let mut verdict = Verdict::Done;
        let head = std::future::poll_fn(|cx| {
            if let Some(r) = &mut run {
                if let Poll::Ready(v) = r.poll(cx) {
                    verdict = v;
                    run = None;
                }
            }
            Pin::new(&mut rx).poll(cx)
        })
        .await;
        active.over = run.is_none();
        self.finish(head, run, verdict, active)
    }

    fn finish(
        &self, head: Result<Result<Response<HyperOutgoingBody>, ErrorCode>, oneshot::error::RecvError>, run: Option<Run>,
        verdict: Verdict, mut active: Active,
    ) -> Response<Reply> {
        match head {
            // What broke before anything was sent is no answer at all.
            Ok(Ok(r)) if verdict == Verdict::Done => {
                active.status = r.status().as_u16();
                let limit = self.shared.rules.response_bytes;
                return r.map(|body| Reply::guest(body, run, active, limit));
            }
            Ok(Err(e)) => self.say(0, active.request, &format!("the guest answered with an error: {e:?}")),
            _ if verdict == Verdict::OutOfTime => return self.plain(active, StatusCode::GATEWAY_TIMEOUT),
            Err(_) if verdict == Verdict::Done => self.say(0, active.request, "the guest ended without an answer"),
            _ => (),
        }
        active.over = true;
        self.plain(active, StatusCode::INTERNAL_SERVER_ERROR)
    }
}

type Answer = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

// ---- a connection

/// HTTP/2 begins with a line that no request of HTTP/1 begins with.
async fn speaks_h2(stream: &tokio::net::TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    let mut first = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut first).await?;
        if n == 0 || first[..n] != PREFACE[..n] {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// A peer that takes nothing for this long is gone.
fn patience(stream: &std::net::TcpStream, msec: c_int) {
    let (at, size) = ((&raw const msec).cast(), size_of::<c_int>() as u32);
    unsafe { libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, at, size) };
}

impl Thread {
    async fn until_done<C: Future>(&self, connection: C, wind_down: impl Fn(Pin<&mut C>), served: &Cell<u64>) {
        let mut connection = pin!(connection);
        let mut phase = self.shared.phase.subscribe();
        loop {
            let now = *phase.borrow_and_update();
            match now {
                Phase::Dropped => return,
                // What was accepted is answered, even if its request is still on the way.
                Phase::Draining(_) if served.get() == 0 => {
                    if let Either::Left(_) = select(connection.as_mut(), pin!(sleep(Duration::from_secs(1)))).await {
                        return;
                    }
                    wind_down(connection.as_mut());
                }
                Phase::Draining(_) => wind_down(connection.as_mut()),
                Phase::Serving => (),
            }
            if let Either::Left(_) = select(connection.as_mut(), pin!(phase.changed())).await {
                return;
            }
        }
    }

    async fn connection(self: &Rc<Self>, stream: std::net::TcpStream) -> std::io::Result<()> {
        let rules = &self.shared.rules;
        patience(&stream, rules.header_msec as c_int);
        let stream = tokio::net::TcpStream::from_std(stream)?;
        stream.set_nodelay(true)?;
        let Ok(h2) = timeout(msec(rules.header_msec), speaks_h2(&stream)).await else { return Ok(()) };
        let served = Rc::new(Cell::new(0));
        let heads = (!h2?).then(Heads::default);
        let service = {
            let (thread, served, heads) = (self.clone(), served.clone(), heads.clone());
            service_fn(move |req| {
                served.set(served.get() + 1);
                let answer = thread.clone().answer(req, heads.clone());
                async move { Ok::<_, Infallible>(answer.await) }
            })
        };
        match heads {
            Some(heads) => {
                let mut b = hyper::server::conn::http1::Builder::new();
                b.timer(Clock).header_read_timeout(msec(rules.header_msec)).max_buf_size(rules.header_bytes as usize);
                self.until_done(b.serve_connection(Io::watched(stream, heads), service), |c| c.graceful_shutdown(), &served).await
            }
            None => {
                let mut b = hyper::server::conn::http2::Builder::new(Here);
                b.timer(Clock)
                    .max_header_list_size(rules.header_bytes)
                    .max_concurrent_streams(100)
                    .keep_alive_interval(msec(rules.header_msec))
                    .keep_alive_timeout(msec(rules.header_msec));
                self.until_done(b.serve_connection(Io::new(stream), service), |c| c.graceful_shutdown(), &served).await
            }
        }
        Ok(())
    }

    fn take_on(self: &Rc<Self>, guest: Guarded) {
        let thread = self.clone();
        add(&self.slot.connections, 1);
        self.connections.set(self.connections.get() + 1);
        tokio::task::spawn_local(async move {
            let Guarded { stream, permit } = guest;
            // A peer's errors are the peer's.
            let _ = thread.connection(stream).await;
            drop(permit);
            take(&thread.slot.connections, 1);
            thread.shared.loads[thread.index as usize].fetch_sub(1, Relaxed);
            thread.connections.set(thread.connections.get() - 1);
            if thread.connections.get() == 0 {
                thread.empty.notify_one();
            }
        });
    }
}

// ---- threads

/// A connection on its way to the thread that will have it.
struct Guarded {
    stream: std::net::TcpStream,
    permit: tokio::sync::OwnedSemaphorePermit,
}

fn accept_one(fd: c_int) -> std::io::Result<std::net::TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    match unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) } {
        -1 => Err(std::io::Error::last_os_error()),
        fd => Ok(unsafe { std::net::TcpStream::from_raw_fd(fd) }),
    }
}

/// Accept on one socket, and give to the thread that has the fewest.
async fn accept(shared: Arc<Shared>, listener: Arc<AsyncFd<OwnedFd>>, inboxes: Vec<UnboundedSender<Guarded>>) {
    loop {
        let Ok(permit) = shared.connections.clone().acquire_owned().await else { return };
        let stream = loop {
            match accept_one(listener.as_raw_fd()) {
                Ok(stream) => break stream,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => match listener.readable().await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => return,
                },
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::ECONNABORTED)) => (),
                Err(_) => sleep(Duration::from_millis(50)).await, // no descriptor, no memory: later
            }
        };
        let to = (0..inboxes.len()).min_by_key(|i| shared.loads[*i].load(Relaxed)).unwrap_or(0);
        shared.loads[to].fetch_add(1, Relaxed);
        let _ = inboxes[to].send(Guarded { stream, permit });
    }
}

/// Wait for the end of serving, by request or by idleness; then for the end of draining.
async fn govern(shared: &Arc<Shared>, idle: u64) {
    let mut phase = shared.phase.subscribe();
    loop {
        let now = *phase.borrow_and_update();
        let until = match now {
            Phase::Serving => (idle > 0).then(|| shared.born + Duration::from_millis(shared.last_msec.load(Relaxed) + idle)),
            Phase::Draining(deadline) => Some(deadline),
            Phase::Dropped => return,
        };
        let Some(until) = until else {
            let _ = phase.changed().await;
            continue;
        };
        if let Either::Right(_) = select(pin!(sleep_until(until.into())), pin!(phase.changed())).await {
            continue;
        }
        match now {
            Phase::Draining(_) => {
                let _ = shared.phase.send_replace(Phase::Dropped);
            }
            _ if shared.at_work() => shared.last_msec.store(shared.born.elapsed().as_millis() as u64, Relaxed),
            _ if shared.last_msec.load(Relaxed) + idle <= shared.born.elapsed().as_millis() as u64 => {
                shared.idle.store(true, Relaxed);
                shared.drain(Instant::now() + Duration::from_secs(10));
            }
            _ => (),
        }
    }
}

struct Seat {
    shared: Arc<Shared>,
    index: usize,
    inbox: UnboundedReceiver<Guarded>,
    /// Only the first thread has any.
    listeners: Vec<OwnedFd>,
    inboxes: Vec<UnboundedSender<Guarded>>,
}

impl Seat {
    async fn main(mut self) {
        let shared = self.shared.clone();
        let thread = Rc::new(Thread {
            slot: shared.slots[self.index],
            out: Arc::new(Sink::new(1)),
            errors: Arc::new(Sink::new(2)),
            worlds: Arc::default(),
            kept: RefCell::default(),
            index: self.index as u64,
            instances: Cell::new(0),
            requests: Cell::new(0),
            connections: Cell::new(0),
            empty: Notify::new(),
            shared: shared.clone(),
        });
        for sink in [thread.out.clone(), thread.errors.clone()] {
            tokio::task::spawn_local(async move { sink.pump().await });
        }
        tokio::task::spawn_local(give());
        let mut accepting = Vec::new();
        for fd in self.listeners.drain(..) {
            if let Ok(listener) = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) } {
                accepting.push(tokio::task::spawn_local(accept(shared.clone(), Arc::new(listener), self.inboxes.clone())));
            }
        }
        self.inboxes.clear();
        let (idle, governed) = (if self.index == 0 { shared.rules.idle_msec } else { 0 }, shared.clone());
        tokio::task::spawn_local(async move { govern(&governed, idle).await });
        let mut phase = shared.phase.subscribe();
        let mut open = true; // until nobody accepts any more, and all that was accepted is here
        loop {
            let now = *phase.borrow_and_update();
            if now != Phase::Serving {
                accepting.drain(..).for_each(|a| a.abort());
            }
            if now == Phase::Dropped || (!open && thread.connections.get() == 0) {
                return;
            }
            let (inbox, waits) = (&mut self.inbox, open);
            let arrival = pin!(async move { if waits { inbox.recv().await } else { std::future::pending().await } });
            match select(arrival, select(pin!(phase.changed()), pin!(thread.empty.notified()))).await {
                Either::Left((Some(guest), _)) => thread.take_on(guest),
                Either::Left((None, _)) => open = false,
                Either::Right(_) => (),
            }
        }
    }

    fn run(self) {
        let shared = self.shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(16).build();
        if let Ok(runtime) = runtime {
            tokio::task::LocalSet::new().block_on(&runtime, self.main());
            runtime.shutdown_background();
        }
        if shared.running.fetch_sub(1, SeqCst) == 1 {
            shared.tell();
        }
    }
}

// ---- the server

pub struct Server {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

fn serve(guest: &'static Guest, o: &Options) -> Result<Server, Fail> {
    let Ready::Component(pre) = &guest.ready else {
        return fail(Code::Invalid, "module", "it can't be served: it is no component");
    };
    let Ok(proxy) = ProxyPre::new(pre.clone()) else {
        return fail(Code::NotFound, "wasi:http/incoming-handler", "it can't be served: it has no wasi:http/incoming-handler");
    };
    let rules = o.rules;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let n = if rules.threads > 0 { rules.threads as usize } else { cores }.min(64);
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    let shared = Arc::new(Shared {
        guest,
        proxy,
        permits: Arc::new(Semaphore::new(rules.concurrency as usize)),
        waiting: AtomicUsize::new(0),
        connections: Arc::new(Semaphore::new(rules.connections as usize)),
        loads: (0..n).map(|_| AtomicUsize::new(0)).collect(),
        phase: watch::Sender::new(Phase::Serving),
        idle: AtomicBool::new(false),
        running: AtomicUsize::new(n),
        event: unsafe { OwnedFd::from_raw_fd(event) },
        born: Instant::now(),
        last_msec: AtomicU64::new(0),
        slots: (0..n).map(|i| guest.engine.page.slot(i)).collect(),
        quiet: AtomicBool::new(false),
        ticker: OnceLock::new(),
        rules,
    });
    start(shared, n, o)
}

fn start(shared: Arc<Shared>, n: usize, o: &Options) -> Result<Server, Fail> {
    let mut listeners = Vec::new();
    for i in 0..o.n_listen_fds {
        let fd = unsafe { libc::fcntl(*o.listen_fds.add(i), libc::F_DUPFD_CLOEXEC, 3) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        unsafe { libc::fcntl(fd, libc::F_SETFL, libc::fcntl(fd, libc::F_GETFL) | libc::O_NONBLOCK) };
        listeners.push(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let (inboxes, mut ends): (Vec<_>, Vec<_>) = (0..n).map(|_| unbounded_channel()).unzip();
    let mut server = Server { shared: shared.clone(), threads: Vec::new() };
    for index in (0..n).rev() {
        let inbox = ends.pop().expect("one for each");
        let mine = if index == 0 { std::mem::take(&mut listeners) } else { Vec::new() };
        let inboxes = if index == 0 { inboxes.clone() } else { Vec::new() };
        let seat = Seat { shared: shared.clone(), index, inbox, listeners: mine, inboxes };
        server.threads.push(std::thread::Builder::new().stack_size(1 << 20).spawn(move || seat.run())?);
    }
    let ticker = std::thread::Builder::new().stack_size(64 << 10).spawn(move || shared.tick())?;
    let _ = server.shared.ticker.set(ticker.thread().clone());
    Ok(server)
}

/// # Safety
/// berth_wasm.h says what the arguments are, here and below. The guest outlives the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_serve(
    guest: *const Guest, o: *const Options, ret: *mut *mut Server, err: *mut CError,
) -> c_int {
    guard(err, || {
        let server = serve(unsafe { &*guest }, unsafe { &*o })?;
        unsafe { *ret = Box::into_raw(Box::new(server)) };
        Ok(0)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_server_fd(server: *const Server) -> c_int {
    unsafe { &*server }.shared.event.as_raw_fd()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_server_state(server: *mut Server, ret_idle: *mut bool) -> c_int {
    let shared = unsafe { &(*server).shared };
    let mut count = [0u8; 8];
    unsafe { libc::read(shared.event.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
    if let Some(idle) = unsafe { ret_idle.as_mut() } {
        *idle = shared.idle.load(Relaxed);
    }
    match (shared.running.load(SeqCst), *shared.phase.borrow()) {
        (0, _) => 3,
        (_, Phase::Serving) => 1,
        _ => 2,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_drain(server: *mut Server, timeout_msec: u64) {
    guard(std::ptr::null_mut(), || {
        unsafe { &*server }.shared.drain(Instant::now() + Duration::from_millis(timeout_msec));
        Ok(0)
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_server_free(server: *mut Server) {
    if server.is_null() {
        return;
    }
    guard(std::ptr::null_mut(), || {
        let server = unsafe { Box::from_raw(server) };
        let _ = server.shared.phase.send_replace(Phase::Dropped);
        for t in server.threads {
            let _ = t.join();
        }
        server.shared.wake_ticker();
        Ok(0)
    });
}
