// SPDX-License-Identifier: Apache-2.0
//! wasi:http, served: one event loop for each core, an instance for each request, limits on all of it.

use crate::ffi::{Code, Fail, guard};
use crate::guest::{Guest, Ready, Slot, State, World, Worlds, add, take};
use crate::head::{Heads, clean, good_host};
use crate::log::{Sink, Who};
use crate::reply::{Active, Reply, Verdict};
use crate::run::{Kind, end_of};
use crate::turn::{Turn, give};
use crate::wire::{Clock, Here, Io, send_all};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::MapErr;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::ffi::{c_int, c_void};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, WasiHttpView};

const TICK: Duration = Duration::from_millis(4);
/// Ticks without an instance after which nothing ticks any more.
const QUIET: u32 = 75;
/// For what is under way when an idle worker ends.
const LAST: Duration = Duration::from_secs(10);

/// struct berth_wasm_serve_options, in two parts.
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
    state_fd: c_int,
    threads: u32,
    idle_msec: u64,
    body_bytes: u64,
    response_bytes: u64,
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

/// A served guest; all its threads see it.
pub struct Server {
    guest: &'static Guest,
    proxy: ProxyPre<State>,
    rules: Rules,
    permits: Semaphore,
    waiting: AtomicUsize,
    connections: Semaphore,
    /// Connections of each thread.
    loads: Vec<AtomicUsize>,
    running: AtomicUsize,
    /// When what is left is dropped, once nothing more is accepted.
    end: watch::Sender<Option<Instant>>,
    born: Instant,
    last_msec: AtomicU64,
    ticker: OnceLock<std::thread::Thread>,
}

impl Server {
    fn tell(&self) {
        unsafe { libc::eventfd_write(self.rules.state_fd, 1) };
    }

    fn at_work(&self) -> bool {
        self.guest.slots[..self.loads.len()].iter().any(|s| s.active_requests.load(Relaxed) > 0)
    }

    fn drain(&self, end: Instant) {
        self.end.send_modify(|e| *e = Some(e.map_or(end, |earlier| earlier.min(end))));
        self.tell();
    }

    /// Until the time for draining is over.
    async fn ended(&self) {
        let mut end = self.end.subscribe();
        loop {
            let until = *end.borrow_and_update();
            let over = async { if let Some(end) = until { sleep_until(end.into()).await } else { std::future::pending().await } };
            if let Either::Left(_) = select(pin!(over), pin!(end.changed())).await {
                return;
            }
        }
    }

    /// An instance has begun or ended: the moment that idleness is counted from.
    pub fn touch(&self) {
        self.last_msec.store(self.born.elapsed().as_millis() as u64, Relaxed);
    }

    /// Drain once nothing was asked for so long.
    async fn watch_idleness(&self, idle: Duration) {
        loop {
            if self.at_work() {
                self.touch();
            }
            let until = self.born + Duration::from_millis(self.last_msec.load(Relaxed)) + idle;
            if until <= Instant::now() {
                return self.drain(until + LAST);
            }
            sleep_until(until.into()).await;
        }
    }

    /// The clock of epochs. It stands while no instance is alive, so that an idle worker never wakes.
    fn tick(&self) {
        let mut still = 0;
        while self.running.load(Relaxed) > 0 {
            std::thread::sleep(TICK);
            self.guest.engine.increment_epoch();
            still = if self.at_work() { 0 } else { still + 1 };
            if still == QUIET {
                std::thread::park();
                still = 0;
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
    pub shared: &'static Server,
    pub slot: &'static Slot,
    pub out: Arc<Sink>,
    errors: Arc<Sink>,
    worlds: Arc<Worlds>,
    /// Instances that may answer once more.
    kept: RefCell<Vec<Kept>>,
    index: usize,
    instances: Cell<u64>,
    requests: Cell<u64>,
    empty: Notify,
}

// ---- a request

/// A request's body, no longer than it may be.
type Asked = MapErr<Limited<Incoming>, fn(Box<dyn std::error::Error + Send + Sync>) -> Error>;

fn bounded(incoming: Incoming, limit: u64) -> Asked {
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    let failed: fn(_) -> _ = |e: Box<dyn std::error::Error + Send + Sync>| {
        e.downcast::<hyper::Error>().map_or(Error::HttpRequestBodySize(None), |e| Error::from(*e))
    };
    Limited::new(incoming, limit).map_err(failed)
}

/// One Host, well-formed; where the target has one too, that counts and is what the guest sees. None: a bad request.
fn host(req: &mut Request<Incoming>) -> Option<()> {
    let mut all = req.headers().get_all(header::HOST).iter();
    let (first, second) = (all.next().cloned(), all.next().is_some());
    let target = req.uri().authority().map(|a| a.as_str().to_string());
    let bad = first.as_ref().is_some_and(|h| !h.to_str().is_ok_and(good_host)) || target.as_ref().is_some_and(|t| !good_host(t));
    if bad || second {
        return None;
    }
    let value = match (target, first) {
        (Some(t), Some(h)) if req.version() == Version::HTTP_2 && h.as_bytes() != t.as_bytes() => return None,
        (Some(t), _) => HeaderValue::from_str(&t).ok()?,
        (None, Some(_)) => return Some(()),
        (None, None) if req.version() == Version::HTTP_10 => HeaderValue::from_static("localhost"),
        (None, None) => return None,
    };
    req.headers_mut().insert(header::HOST, value);
    Some(())
}

/// What is refused before any instance exists.
fn check(req: &mut Request<Incoming>, heads: Option<Heads>, limit: u64) -> Verdict {
    if let Some(heads) = heads {
        if !req.headers().contains_key(header::TRANSFER_ENCODING) {
            heads.forget();
        } else if heads.have_both_lengths(&format!("{} {} ", req.method(), req.uri())) {
            return Err(StatusCode::BAD_REQUEST);
        }
    }
    if req.method() == Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    host(req).ok_or(StatusCode::BAD_REQUEST)?;
    let length = req.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if limit > 0 && length.is_some_and(|n| n > limit) { Err(StatusCode::PAYLOAD_TOO_LARGE) } else { Ok(()) }
}

/// An answer of our own.
fn plain(mut active: Active, status: StatusCode) -> Response<Reply> {
    active.status = status.as_u16();
    let text = match status {
        StatusCode::SERVICE_UNAVAILABLE => "busy: try again\n",
        StatusCode::GATEWAY_TIMEOUT => "out of time\n",
        StatusCode::PAYLOAD_TOO_LARGE => "too large\n",
        s if s.is_client_error() => "bad request\n",
        _ => "internal error\n",
    };
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut r = Response::new(Reply::new(body, active, 0));
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

type Head = Result<Response<HyperOutgoingBody>, ErrorCode>;

impl Thread {
    fn next(&self, counter: &Cell<u64>) -> u64 {
        counter.set(counter.get() + 1);
        (counter.get() - 1) * self.shared.loads.len() as u64 + self.index as u64 + 1
    }

    /// A line of the worker's own about an instance, on descriptor 2.
    pub fn say(&self, instance: u64, request: u64, text: &str) {
        Who::new(instance, request).records(text.as_bytes()).into_iter().for_each(|r| self.errors.put(r));
    }

    fn begin(self: &Rc<Self>, req: &Request<Incoming>) -> Active {
        add(&self.slot.requests, 1);
        add(&self.slot.active_requests, 1);
        let line = || (clean(&format!("{} {}", req.method(), req.uri())), Instant::now());
        let (request, line) = (self.next(&self.requests), self.shared.rules.access_log.then(line));
        Active { thread: self.clone(), request, run: None, verdict: Ok(()), line, status: 0, bytes: 0 }
    }

    /// Leave to make an instance: at once, or after some waiting in a queue that has an end.
    async fn permit(&self) -> Option<SemaphorePermit<'static>> {
        let shared = self.shared;
        if let Ok(p) = shared.permits.try_acquire() {
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
        timeout(msec(shared.rules.queue_msec), shared.permits.acquire()).await.ok()?.ok()
    }

    fn world(&self) -> Result<World, Fail> {
        let waiting = self.worlds.lock().unwrap().pop();
        waiting.map_or_else(|| self.shared.guest.serving_world(&self.out, &self.errors), Ok)
    }

    /// Tell the log and the counters how an instance failed.
    fn blame(&self, instance: u64, request: u64, error: &wasmtime::Error, refused: Option<u64>) -> Verdict {
        let end = end_of(error, refused);
        let (counter, status, word) = match end.kind {
            Kind::Exit => return Ok(()),
            Kind::Time => (&self.slot.timeouts, StatusCode::GATEWAY_TIMEOUT, "out of time"),
            Kind::Memory => (&self.slot.memory_outs, StatusCode::INTERNAL_SERVER_ERROR, "out of memory"),
            _ => (&self.slot.traps, StatusCode::INTERNAL_SERVER_ERROR, "trap"),
        };
        add(counter, 1);
        let asked = if end.asked > 0 { format!(" ({} bytes were refused)", end.asked) } else { String::new() };
        self.say(instance, request, &format!("{word}: {}{asked}\n{}", end.name, end.text));
        Err(status)
    }

    fn fresh(&self) -> Result<Kept, Fail> {
        let (id, world) = (self.next(&self.instances), self.world()?);
        let who = world.who.clone();
        let store = self.shared.guest.store(world, Some(self.worlds.clone()), self.slot);
        Ok(Kept { store, proxy: None, who, id, calls: 0 })
    }

    /// One call, most often the whole life of an instance.
    async fn instance(self: Rc<Self>, req: Request<Asked>, tx: oneshot::Sender<Head>, request: u64) -> Verdict {
        let shared = self.shared;
        let Some(_permit) = self.permit().await else {
            add(&self.slot.rejected, 1);
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        };
        let kept = self.kept.borrow_mut().pop();
        let mut own = kept.map_or_else(|| self.fresh(), Ok).map_err(|f| {
            self.say(0, request, &f.message);
            StatusCode::INTERNAL_SERVER_ERROR
        })?;
        own.who.instance.store(own.id, Relaxed);
        own.who.request.store(request, Relaxed);
        own.calls += 1;
        if let Some(ticker) = shared.ticker.get() {
            ticker.unpark();
        }
        // It gives way at its fourth tick: what is short is not interrupted. What others wait for goes out at the first.
        let mut first = true;
        own.store.epoch_deadline_callback(move |_| {
            if std::mem::take(&mut first) {
                send_all();
                return Ok(UpdateDeadline::Continue(3));
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(Turn::default())))
        });
        own.store.set_epoch_deadline(1);
        let limit = Duration::from_micros(shared.guest.limits.time_usec);
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
                if own.calls < shared.rules.reuse && kept.len() * shared.loads.len() < shared.rules.concurrency as usize {
                    kept.push(own);
                }
                Ok(())
            }
            Ok(Err(e)) => self.blame(own.id, request, &e, own.store.data().taken.refused),
            Err(_) => {
                add(&self.slot.timeouts, 1);
                self.say(own.id, request, &format!("out of time: {} ms have passed", limit.as_millis()));
                Err(StatusCode::GATEWAY_TIMEOUT)
            }
        }
    }

    async fn answer(self: Rc<Self>, mut req: Request<Incoming>, heads: Option<Heads>) -> Response<Reply> {
        let (mut active, limit) = (self.begin(&req), self.shared.rules.body_bytes);
        if let Err(status) = check(&mut req, heads, limit) {
            add(&self.slot.bad_requests, 1);
            return plain(active, status);
        }
        let (tx, mut rx) = oneshot::channel();
        let req = req.map(|incoming| bounded(incoming, limit));
        active.run = Some(Box::pin(self.clone().instance(req, tx, active.request)));
        let head = std::future::poll_fn(|cx| {
            active.advance(cx);
            Pin::new(&mut rx).poll(cx)
        })
        .await;
        let why = match (head, active.verdict) {
            // What broke before anything was sent is no answer at all.
            (_, Err(status)) => return plain(active, status),
            (Ok(Ok(r)), _) => {
                active.status = r.status().as_u16();
                return r.map(|body| Reply::new(body, active, self.shared.rules.response_bytes));
            }
            (Ok(Err(e)), _) => format!("the guest answered with an error: {e:?}"),
            (Err(_), _) => "the guest ended without an answer".into(),
        };
        self.say(0, active.request, &why);
        active.run = None;
        plain(active, StatusCode::INTERNAL_SERVER_ERROR)
    }
}

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
fn patience(stream: &TcpStream, msec: c_int) {
    let (at, size) = ((&raw const msec).cast(), size_of::<c_int>() as u32);
    unsafe { libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, at, size) };
}

impl Thread {
    /// To its end, which it is asked for when we drain. What was accepted is answered, even if its request is still on the way.
    async fn until_done<C: Future>(&self, connection: C, wind_down: impl Fn(Pin<&mut C>), served: &Cell<u64>) {
        let mut drains = self.shared.end.subscribe();
        let life = async {
            let mut connection = pin!(connection);
            if let Either::Left(_) = select(connection.as_mut(), pin!(drains.wait_for(Option::is_some))).await {
                return;
            }
            if served.get() == 0 {
                if let Either::Left(_) = select(connection.as_mut(), pin!(sleep(Duration::from_secs(1)))).await {
                    return;
                }
            }
            wind_down(connection.as_mut());
            connection.await;
        };
        select(pin!(life), pin!(self.shared.ended())).await;
    }

    async fn connection(self: &Rc<Self>, stream: TcpStream) -> std::io::Result<()> {
        let rules = &self.shared.rules;
        patience(&stream, rules.header_msec as c_int);
        let stream = tokio::net::TcpStream::from_std(stream)?;
        stream.set_nodelay(true)?;
        let Ok(h2) = timeout(msec(rules.header_msec), speaks_h2(&stream)).await else { return Ok(()) };
        let (heads, served) = ((!h2?).then(Heads::default), Cell::new(0));
        let service = service_fn(|req| {
            served.set(served.get() + 1);
            let answer = self.clone().answer(req, heads.clone());
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let io = Io::new(stream, heads.clone());
        if heads.is_some() {
            let mut b = hyper::server::conn::http1::Builder::new();
            b.timer(Clock).header_read_timeout(msec(rules.header_msec)).max_buf_size(rules.header_bytes as usize);
            self.until_done(b.serve_connection(io, service), |c| c.graceful_shutdown(), &served).await;
        } else {
            let mut b = hyper::server::conn::http2::Builder::new(Here);
            b.timer(Clock)
                .max_header_list_size(rules.header_bytes)
                .max_concurrent_streams(100)
                .keep_alive_interval(msec(rules.header_msec))
                .keep_alive_timeout(msec(rules.header_msec));
            self.until_done(b.serve_connection(io, service), |c| c.graceful_shutdown(), &served).await;
        }
        Ok(())
    }

    fn take_on(self: &Rc<Self>, (stream, permit): Guarded) {
        let thread = self.clone();
        add(&self.slot.connections, 1);
        tokio::task::spawn_local(async move {
            // A peer's errors are the peer's.
            let _ = thread.connection(stream).await;
            drop(permit);
            take(&thread.slot.connections, 1);
            thread.shared.loads[thread.index].fetch_sub(1, Relaxed);
            thread.empty.notify_one();
        });
    }
}

// ---- threads

/// A connection on its way to the thread that will have it.
type Guarded = (TcpStream, SemaphorePermit<'static>);

/// Accept on one socket, and give to the thread that has the fewest.
async fn accept(shared: &'static Server, listener: AsyncFd<TcpListener>, inboxes: Vec<UnboundedSender<Guarded>>) {
    loop {
        let Ok(permit) = shared.connections.acquire().await else { return };
        let stream = loop {
            match listener
                .async_io(Interest::READABLE, |l| l.accept().and_then(|(s, _)| s.set_nonblocking(true).map(|_| s)))
                .await
            {
                Ok(stream) => break stream,
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::ECONNABORTED)) => (),
                Err(_) => sleep(Duration::from_millis(50)).await, // no descriptor, no memory: later
            }
        };
        let to = (0..inboxes.len()).min_by_key(|i| shared.loads[*i].load(Relaxed)).unwrap_or(0);
        shared.loads[to].fetch_add(1, Relaxed);
        let _ = inboxes[to].send((stream, permit));
    }
}

/// What only the first thread has: sockets, and the ways to all others.
type Door = (Vec<TcpListener>, Vec<UnboundedSender<Guarded>>);

/// To the end of serving; then until nobody accepts any more and all that was accepted is here and answered.
async fn seat(shared: &'static Server, index: usize, mut inbox: UnboundedReceiver<Guarded>, door: Option<Door>) {
    let thread = Rc::new(Thread {
        shared,
        slot: &shared.guest.slots[index],
        out: Arc::new(Sink::new(1)),
        errors: Arc::new(Sink::new(2)),
        worlds: Arc::default(),
        kept: RefCell::default(),
        index,
        instances: Cell::new(0),
        requests: Cell::new(0),
        empty: Notify::new(),
    });
    for sink in [thread.out.clone(), thread.errors.clone()] {
        tokio::task::spawn_local(async move { sink.pump().await });
    }
    tokio::task::spawn_local(give());
    if let Some((listeners, inboxes)) = door {
        for listener in
            listeners.into_iter().filter_map(|l| unsafe { AsyncFd::register_with_interest(l, Interest::READABLE) }.ok())
        {
            let (accepting, mut drains) = (accept(shared, listener, inboxes.clone()), shared.end.subscribe());
            tokio::task::spawn_local(async move {
                select(pin!(accepting), pin!(drains.wait_for(Option::is_some))).await;
            });
        }
        if shared.rules.idle_msec > 0 {
            tokio::task::spawn_local(shared.watch_idleness(Duration::from_millis(shared.rules.idle_msec)));
        }
    }
    let serving = async {
        while let Some(guest) = inbox.recv().await {
            thread.take_on(guest);
        }
        while shared.loads[index].load(Relaxed) > 0 {
            thread.empty.notified().await;
        }
    };
    select(pin!(serving), pin!(shared.ended())).await;
}

fn run(shared: &'static Server, index: usize, inbox: UnboundedReceiver<Guarded>, door: Option<Door>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(16).build();
    if let Ok(runtime) = runtime {
        tokio::task::LocalSet::new().block_on(&runtime, seat(shared, index, inbox, door));
        runtime.shutdown_background();
    }
    if shared.running.fetch_sub(1, SeqCst) == 1 {
        shared.tell();
    }
}

fn serve(guest: &'static Guest, o: &Options) -> Result<&'static Server, Fail> {
    let Ready::Component(pre) = &guest.ready else {
        return Err(Fail::new(Code::Invalid, "module", "it can't be served: it is no component"));
    };
    let handler = "wasi:http/incoming-handler";
    let proxy = ProxyPre::new(pre.clone())
        .map_err(|_| Fail::new(Code::NotFound, handler, format!("it can't be served: it has no {handler}")))?;
    let (rules, n) = (o.rules, o.rules.threads as usize);
    let shared: &'static Server = Box::leak(Box::new(Server {
        guest,
        proxy,
        rules,
        permits: Semaphore::new(rules.concurrency as usize),
        waiting: AtomicUsize::new(0),
        connections: Semaphore::new(rules.connections as usize),
        loads: (0..n).map(|_| AtomicUsize::new(0)).collect(),
        running: AtomicUsize::new(n),
        end: watch::Sender::new(None),
        born: Instant::now(),
        last_msec: AtomicU64::new(0),
        ticker: OnceLock::new(),
    }));
    let fds = unsafe { std::slice::from_raw_parts(o.listen_fds, o.n_listen_fds) };
    let listeners = fds.iter().map(|fd| unsafe { TcpListener::from_raw_fd(*fd) }).collect();
    let (inboxes, ends): (Vec<_>, Vec<_>) = (0..n).map(|_| unbounded_channel()).unzip();
    let mut door = Some((listeners, inboxes));
    for (index, inbox) in ends.into_iter().enumerate() {
        let door = door.take();
        std::thread::Builder::new().stack_size(1 << 20).spawn(move || run(shared, index, inbox, door))?;
    }
    let ticker = std::thread::Builder::new().stack_size(64 << 10).spawn(move || shared.tick())?;
    let _ = shared.ticker.set(ticker.thread().clone());
    Ok(shared)
}

/// # Safety
/// berth_wasm.h says what the arguments are, here and below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_serve(
    guest: *const Guest, o: *const Options, ret: *mut *const Server, err: *mut c_void,
) -> c_int {
    guard(err, || {
        unsafe { *ret = serve(&*guest, &*o)? };
        Ok(0)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_server_state(server: *const Server) -> c_int {
    let shared = unsafe { &*server };
    match (shared.running.load(SeqCst), shared.end.borrow().is_some()) {
        (0, _) => 3,
        (_, false) => 1,
        _ => 2,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_drain(server: *const Server, timeout_msec: u64) {
    guard(std::ptr::null_mut(), || {
        unsafe { &*server }.drain(Instant::now() + Duration::from_millis(timeout_msec));
        Ok(0)
    });
}
