// SPDX-License-Identifier: Apache-2.0
//! Outwards: what was judged in C is what is connected. Names become addresses by getaddrinfo(3), which is C's own here.

use futures_util::stream;
use http::uri::Scheme;
use http_body_util::{BodyExt, StreamBody};
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, rustls};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// How long anything of the outside world may take where the guest does not say.
const PATIENCE: Duration = Duration::from_secs(60);

unsafe extern "C" {
    fn berth_wasm_allow(name: *const c_char, address: *const libc::sockaddr, using: Use) -> c_int;
    fn berth_wasm_roots(add: unsafe extern "C" fn(*mut c_void, *const u8, usize), to: *mut c_void) -> c_int;
}

/// enum berth_wasm_use.
#[repr(u32)]
pub enum Use {
    Connect = 1,
    Send,
    Heard,
}

/// Whether the guest may use this address, which was reached by `name`, or by itself.
pub fn allows(name: Option<&str>, address: SocketAddr, using: Use) -> bool {
    let Ok(name) = name.map(CString::new).transpose() else { return false };
    let (name, address) = (name.as_ref().map_or(std::ptr::null(), |n| n.as_ptr()), socket2::SockAddr::from(address));
    unsafe { berth_wasm_allow(name, address.as_ptr().cast(), using) == 0 }
}

pub struct Outgoing {
    pub allowed: bool,
}

type Tail = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Tail), Error>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self, r: http::Request<WasiBody>, o: Option<RequestOptions>, _: Tail,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let allowed = self.allowed;
        Box::new(async move { if allowed { send(r, o.unwrap_or_default()).await } else { Err(Error::HttpRequestDenied) } })
    }
}

/// The first of a host's addresses that a rule allows, looked up once.
async fn address_of(host: &str, port: u16) -> Result<SocketAddr, Error> {
    let name = host.parse::<IpAddr>().is_err().then_some(host);
    let mut found = lookup_host((host, port)).await.map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied => Error::HttpRequestDenied,
        _ => Error::DnsError { rcode: Some("not found".into()), info_code: None },
    })?;
    found.find(|a| allows(name, *a, Use::Connect)).ok_or(Error::DestinationIpProhibited)
}

/// Whom it trusts: who is built in, where nobody else was said.
static TLS: LazyLock<TlsConnector> = LazyLock::new(|| {
    unsafe extern "C" fn add(to: *mut c_void, der: *const u8, length: usize) {
        let (to, der) = unsafe { (&mut *to.cast::<rustls::RootCertStore>(), std::slice::from_raw_parts(der, length)) };
        let _ = to.add(der.to_vec().into()); // one that is none leaves the others
    }
    let mut roots = rustls::RootCertStore::empty();
    if unsafe { berth_wasm_roots(add, (&raw mut roots).cast()) } == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()).into()
});

/// Who can't be trusted is told apart from who does not speak TLS.
fn tls_error(e: std::io::Error) -> Error {
    match e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        _ => Error::TlsProtocolError,
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(uri: &http::Uri) -> Result<TokioIo<Box<dyn Stream>>, Error> {
    let tls = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?.trim_matches(['[', ']']);
    let address = address_of(host, uri.port_u16().unwrap_or(if tls { 443 } else { 80 })).await?;
    let tcp = TcpStream::connect(address).await.map_err(Error::Connect)?;
    let _ = tcp.set_nodelay(true);
    if !tls {
        return Ok(TokioIo::new(Box::new(tcp)));
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(TokioIo::new(Box::new(TLS.connect(name, tcp).await.map_err(tls_error)?)))
}

async fn send(mut r: http::Request<WasiBody>, o: RequestOptions) -> Sent {
    let patience = o.connect_timeout.unwrap_or(PATIENCE);
    let io = timeout(patience, connect(r.uri())).await.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) =
        timeout(patience, hyper::client::conn::http1::handshake(io)).await.map_err(|_| Error::ConnectionTimeout)??;
    // The connection is driven beside the request, and ends with the guest.
    let driver = wasmtime_wasi::runtime::spawn(async move { connection.await.map_err(Error::from) });
    let path = r.uri().path_and_query().map_or("/", |p| p.as_str());
    *r.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let first = o.first_byte_timeout.unwrap_or(PATIENCE);
    let response = timeout(first, sender.send_request(r)).await.map_err(|_| Error::HttpResponseTimeout)??;
    let between = o.between_bytes_timeout.unwrap_or(PATIENCE);
    // A body does not wait for ever.
    let patient = |incoming| {
        stream::unfold(incoming, move |mut body: hyper::body::Incoming| async move {
            match timeout(between, body.frame()).await {
                Ok(frame) => frame.map(|f| (f.map_err(Error::from), body)),
                Err(_) => Some((Err(Error::ConnectionReadTimeout), body)),
            }
        })
    };
    Ok((response.map(|incoming| StreamBody::new(patient(incoming)).boxed_unsync()), Box::new(driver)))
}
