// SPDX-License-Identifier: Apache-2.0
//! Outwards: every name and address is judged in C before it is used, and what was judged is what is connected.

use crate::guest::State;
use crate::wire::Io;
use bytes::Bytes;
use http::uri::Scheme;
use http_body_util::BodyExt;
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, c_char, c_int, c_void};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, rustls};
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn_blocking};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

const ADDRESSES: usize = 16;
/// Addresses that are remembered, and names of each.
const KNOWN: usize = 1000;
const NAMES: usize = 16;
/// How long anything of the outside world may take where the guest does not say.
const PATIENCE: Duration = Duration::from_secs(60);

type Allow = unsafe extern "C" fn(*mut c_void, *const c_char, u16, *const libc::sockaddr, c_int) -> c_int;
type Lookup = unsafe extern "C" fn(*mut c_void, *const c_char, *mut libc::sockaddr_storage, usize) -> c_int;
type Add = unsafe extern "C" fn(*mut c_void, *const u8, usize);
type Roots = unsafe extern "C" fn(*mut c_void, Add, *mut c_void) -> c_int;

/// struct berth_wasm_hooks.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hooks {
    size: usize,
    data: *mut c_void,
    allow: Option<Allow>,
    lookup: Option<Lookup>,
    roots: Option<Roots>,
}
// The header asks of C that all may be called from any thread.
unsafe impl Send for Hooks {}
unsafe impl Sync for Hooks {}

#[repr(i32)]
#[derive(Clone, Copy)]
enum Use {
    Lookup = 1,
    Connect,
    Bind,
    Request,
}

fn to_c(address: &SocketAddr) -> libc::sockaddr_storage {
    let mut out: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    match address {
        SocketAddr::V4(a) => {
            let to = unsafe { &mut *(&raw mut out).cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as _;
            to.sin_port = a.port().to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(a.ip().octets());
        }
        SocketAddr::V6(a) => {
            let to = unsafe { &mut *(&raw mut out).cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as _;
            to.sin6_port = a.port().to_be();
            to.sin6_addr.s6_addr = a.ip().octets();
            to.sin6_scope_id = a.scope_id();
        }
    }
    out
}

fn from_c(c: &libc::sockaddr_storage) -> Option<IpAddr> {
    match c.ss_family as c_int {
        libc::AF_INET => {
            let a = unsafe { &*(&raw const *c).cast::<libc::sockaddr_in>() };
            Some(IpAddr::from(a.sin_addr.s_addr.to_ne_bytes()))
        }
        libc::AF_INET6 => {
            let a = unsafe { &*(&raw const *c).cast::<libc::sockaddr_in6>() };
            Some(IpAddr::from(a.sin6_addr.s6_addr))
        }
        _ => None,
    }
}

impl Hooks {
    fn allows(&self, name: Option<&str>, port: u16, address: Option<&SocketAddr>, using: Use) -> bool {
        let Some(allow) = self.allow else { return false };
        let name = match name.map(CString::new) {
            Some(Err(_)) => return false,
            Some(Ok(n)) => Some(n),
            None => None,
        };
        let storage = address.map(to_c);
        let name = name.as_ref().map_or(std::ptr::null(), |n| n.as_ptr());
        let address = storage.as_ref().map_or(std::ptr::null(), |s| (&raw const *s).cast());
        unsafe { allow(self.data, name, port, address, using as c_int) == 0 }
    }

    fn lookup(&self, name: &str) -> Vec<IpAddr> {
        let (Some(lookup), Ok(name)) = (self.lookup, CString::new(name)) else { return Vec::new() };
        let mut found: [libc::sockaddr_storage; ADDRESSES] = unsafe { std::mem::zeroed() };
        let n = unsafe { lookup(self.data, name.as_ptr(), found.as_mut_ptr(), ADDRESSES) };
        found.iter().take(n.max(0) as usize).filter_map(from_c).collect()
    }

    /// Whom TLS outwards trusts: who is built in, where nobody else was said.
    fn roots(&self) -> rustls::RootCertStore {
        unsafe extern "C" fn add(to: *mut c_void, der: *const u8, length: usize) {
            let (to, der) = unsafe { (&mut *to.cast::<rustls::RootCertStore>(), std::slice::from_raw_parts(der, length)) };
            let _ = to.add(der.to_vec().into()); // one that is none leaves the others
        }
        let mut store = rustls::RootCertStore::empty();
        let said = self.roots.map_or(0, |roots| unsafe { roots(self.data, add, (&raw mut store).cast()) });
        if said == 0 {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        store
    }
}

/// What one instance knows of addresses: for which names it looked one up, as a socket is connected by address alone;
/// and who sent it datagrams, in two generations, as it may answer.
#[derive(Default)]
pub struct Names(Mutex<HashMap<IpAddr, Vec<String>>>, Mutex<[HashSet<SocketAddr>; 2]>);

impl Names {
    fn remember(&self, name: &str, addresses: &[IpAddr]) {
        let mut map = self.0.lock().unwrap();
        for a in addresses {
            if map.len() < KNOWN {
                let names = map.entry(a.to_canonical()).or_default();
                if names.len() < NAMES && !names.iter().any(|n| n == name) {
                    names.push(name.to_string());
                }
            }
        }
    }
    fn of(&self, address: IpAddr) -> Vec<String> {
        self.0.lock().unwrap().get(&address.to_canonical()).cloned().unwrap_or_default()
    }
    fn heard(&self, sender: SocketAddr) {
        let [new, old] = &mut *self.1.lock().unwrap();
        if new.len() >= KNOWN {
            *old = std::mem::take(new);
        }
        new.insert(sender);
    }
    fn has_heard(&self, sender: &SocketAddr) -> bool {
        self.1.lock().unwrap().iter().any(|s| s.contains(sender))
    }
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
        self.1.lock().unwrap().iter_mut().for_each(HashSet::clear);
    }
}

/// A socket's address, as the guest wants to use it.
pub fn judge(hooks: &Hooks, names: &Names, address: SocketAddr, using: SocketAddrUse) -> bool {
    match using {
        // Where it listens, and who comes there: the network's own walls decide who can.
        SocketAddrUse::TcpBind | SocketAddrUse::TcpListen | SocketAddrUse::UdpBind => {
            hooks.allows(None, address.port(), Some(&address), Use::Bind)
        }
        SocketAddrUse::TcpAccept => true,
        SocketAddrUse::UdpReceive => {
            names.heard(address);
            true
        }
        SocketAddrUse::UdpSend if names.has_heard(&address) => true,
        SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => {
            let to = |name: Option<&str>| hooks.allows(name, address.port(), Some(&address), Use::Connect);
            to(None) || names.of(address.ip()).iter().any(|name| to(Some(name)))
        }
    }
}

// ---- names for sockets: the engine's own look-up asks the C library, which would load code from the guest's root

enum Answer {
    Waits(AbortOnDropJoinHandle<Vec<IpAddr>>),
    Here(std::vec::IntoIter<IpAddr>, bool),
}

pub struct Addresses {
    name: String,
    names: Arc<Names>,
    answer: Answer,
}

#[async_trait::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        if let Answer::Waits(job) = &mut self.answer {
            let found = job.await;
            self.names.remember(&self.name, &found);
            self.answer = Answer::Here(found.clone().into_iter(), !found.is_empty());
        }
    }
}

fn to_wit(a: IpAddr) -> IpAddress {
    match a {
        IpAddr::V4(a) => IpAddress::Ipv4(a.octets().into()),
        IpAddr::V6(a) => IpAddress::Ipv6(a.segments().into()),
    }
}

fn begin(state: &mut State, hooks: Hooks, name: String) -> Result<Addresses, ErrorCode> {
    let names = state.names().unwrap_or_default();
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(Addresses { name, names, answer: Answer::Here(vec![address].into_iter(), true) });
    }
    if name.len() > 253 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        return Err(ErrorCode::InvalidArgument);
    }
    if !hooks.allows(Some(&name), 0, None, Use::Lookup) {
        return Err(ErrorCode::AccessDenied);
    }
    let asked = name.clone();
    let answer = Answer::Waits(spawn_blocking(move || hooks.lookup(&asked)));
    Ok(Addresses { name, names, answer })
}

fn next(a: &mut Addresses) -> Result<Option<IpAddress>, ErrorCode> {
    match &mut a.answer {
        Answer::Waits(_) => Err(ErrorCode::WouldBlock),
        Answer::Here(_, false) => Err(ErrorCode::NameUnresolvable),
        Answer::Here(left, true) => Ok(left.next().map(to_wit)),
    }
}

/// In place of the engine's wasi:sockets/ip-name-lookup.
pub fn add_lookup(linker: &mut Linker<State>, hooks: Hooks, sockets: bool) -> wasmtime::Result<()> {
    let mut i = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    i.resource("resolve-address-stream", ResourceType::host::<Addresses>(), |mut s, rep| {
        s.data_mut().ctx().table.delete(Resource::<Addresses>::new_own(rep))?;
        Ok(())
    })?;
    i.func_wrap("resolve-addresses", move |mut s, (_, name): (Resource<Network>, String)| {
        let state: &mut State = s.data_mut();
        let begun = if sockets { begin(state, hooks, name) } else { Err(ErrorCode::AccessDenied) };
        Ok((match begun {
            Ok(a) => Ok(state.ctx().table.push(a)?),
            Err(e) => Err(e),
        },))
    })?;
    i.func_wrap("[method]resolve-address-stream.resolve-next-address", |mut s, (a,): (Resource<Addresses>,)| {
        Ok((next(s.data_mut().ctx().table.get_mut(&a)?),))
    })?;
    i.func_wrap("[method]resolve-address-stream.subscribe", |mut s, (a,): (Resource<Addresses>,)| {
        let pollable: Resource<DynPollable> = subscribe(s.data_mut().ctx().table, a)?;
        Ok((pollable,))
    })
}

// ---- outgoing HTTP

pub struct Outgoing {
    pub hooks: Hooks,
    pub allowed: bool,
}

type Tail = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Tail), Error>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self, r: http::Request<WasiBody>, o: Option<RequestOptions>, _: Tail,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (hooks, allowed) = (self.hooks, self.allowed);
        Box::new(async move { if allowed { send(hooks, r, o.unwrap_or_default()).await } else { Err(Error::HttpRequestDenied) } })
    }
}

/// The first of a host's addresses that a rule allows, looked up once.
async fn address_of(hooks: Hooks, host: &str, port: u16) -> Result<SocketAddr, Error> {
    let (name, found) = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(a) => (None, vec![a]),
        Err(_) if !hooks.allows(Some(host), port, None, Use::Lookup) => return Err(Error::HttpRequestDenied),
        Err(_) => {
            let asked = host.to_string();
            (Some(host), spawn_blocking(move || hooks.lookup(&asked)).await)
        }
    };
    if found.is_empty() {
        return Err(Error::DnsError { rcode: Some("not found".into()), info_code: None });
    }
    let mut all = found.into_iter().map(|a| SocketAddr::new(a, port));
    all.find(|a| hooks.allows(name, port, Some(a), Use::Request)).ok_or(Error::DestinationIpProhibited)
}

fn tls(hooks: Hooks) -> &'static TlsConnector {
    static TLS: OnceLock<TlsConnector> = OnceLock::new();
    TLS.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of its own")
            .with_root_certificates(hooks.roots())
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    })
}

/// Who can't be trusted is told apart from who does not speak TLS.
fn tls_error(e: std::io::Error) -> Error {
    match e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        _ => Error::TlsProtocolError,
    }
}

async fn connect(hooks: Hooks, uri: &http::Uri) -> Result<Io<Box<dyn crate::wire::Stream>>, Error> {
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
    let address = address_of(hooks, host, uri.port_u16().unwrap_or(if secure { 443 } else { 80 })).await?;
    let tcp = TcpStream::connect(address).await.map_err(Error::Connect)?;
    let _ = tcp.set_nodelay(true);
    if !secure {
        return Ok(Io::new(Box::new(tcp)));
    }
    let name = rustls::pki_types::ServerName::try_from(host.trim_matches(['[', ']']).to_string())
        .map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(Io::new(Box::new(tls(hooks).connect(name, tcp).await.map_err(tls_error)?)))
}

async fn send(hooks: Hooks, mut r: http::Request<WasiBody>, o: RequestOptions) -> Sent {
    let patience = o.connect_timeout.unwrap_or(PATIENCE);
    let io = timeout(patience, connect(hooks, r.uri())).await.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) =
        timeout(patience, hyper::client::conn::http1::handshake(io)).await.map_err(|_| Error::ConnectionTimeout)??;
    // The connection is driven beside the request, and ends with the guest.
    let driver = wasmtime_wasi::runtime::spawn(async move { connection.await.map_err(Error::from) });
    let path = r.uri().path_and_query().map_or("/", |p| p.as_str());
    *r.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let first = o.first_byte_timeout.unwrap_or(PATIENCE);
    let response = timeout(first, sender.send_request(r)).await.map_err(|_| Error::HttpResponseTimeout)??;
    let between = o.between_bytes_timeout.unwrap_or(PATIENCE).max(Duration::from_millis(1));
    let response =
        response.map(|incoming| Patient { incoming, between, sleep: Box::pin(tokio::time::sleep(between)) }.boxed_unsync());
    Ok((response, Box::new(driver)))
}

/// A response's body that does not wait for ever.
struct Patient {
    incoming: hyper::body::Incoming,
    between: Duration,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            let next = tokio::time::Instant::now() + self.between;
            self.sleep.as_mut().reset(next);
            return Poll::Ready(frame.map(|f| f.map_err(Error::from)));
        }
        self.sleep.as_mut().poll(cx).map(|_| Some(Err(Error::ConnectionReadTimeout)))
    }
    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}
