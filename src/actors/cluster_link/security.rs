//! What makes a stranger's connection a peer's: a cookie, certificates, both, or that it comes from this machine.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor, TlsConnector, TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use super::{Cookie, LinkStream};
use crate::config::node::{ClusterSettings, TlsFiles};

/// How a node's connections to others are secured.
#[derive(Clone, Debug, Default)]
pub struct Security {
    cookie: Option<Cookie>,
    tls: Option<Tls>,
}

/// Both ends show a certificate of the cluster's own authority.
#[derive(Clone)]
struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Why a node cannot secure its connections as it is told to.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The cookie cannot be read.
    #[error("cluster.cookie-file {}: {source}", path.display())]
    Cookie {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The cookie is too short to be a secret.
    #[error(
        "cluster.cookie-file {} holds fewer than {} bytes: write a random line into it, the same on every node, such \
         as `openssl rand -hex 32` prints",
        path.display(), Cookie::BYTES_MIN
    )]
    ShortCookie {
        /// The file.
        path: PathBuf,
    },
    /// Anyone on the machine can read the cookie.
    #[error("cluster.cookie-file {} can be read by others than its owner's group: chmod o-rwx it", path.display())]
    OpenCookie {
        /// The file.
        path: PathBuf,
    },
    /// A file of certificates or keys is not what it should be.
    #[error("{setting} {}: {cause}", path.display())]
    Pem {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificate, key and authority do not go together.
    #[error("cluster.tls-cert, cluster.tls-key and cluster.tls-ca do not go together: {0}")]
    Tls(String),
}

impl Security {
    /// Reads what the settings name.
    pub fn load(settings: &ClusterSettings) -> Result<Self, SecurityError> {
        let cookie = settings.cookie_file.as_deref().map(read_cookie).transpose()?;
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        Ok(Self { cookie, tls })
    }

    /// With this cookie and no certificates.
    pub fn with_cookie(cookie: Cookie) -> Self {
        Self { cookie: Some(cookie), tls: None }
    }

    pub(super) fn cookie(&self) -> Option<&Cookie> {
        self.cookie.as_ref()
    }

    /// Nothing is proved: only this machine is trusted.
    pub(super) fn is_loopback_only(&self) -> bool {
        self.cookie.is_none() && self.tls.is_none()
    }

    /// The dialling end; `host` is whom the certificate has to name.
    pub(super) async fn wrap_dialled(&self, stream: TcpStream, host: &str) -> io::Result<LinkStream> {
        let Some(tls) = &self.tls else { return Ok(LinkStream::Plain(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = tls.connector.connect(name, stream).await?;
        Ok(LinkStream::Tls(Box::new(TlsStream::Client(stream))))
    }

    /// The accepting end.
    pub(super) async fn wrap_accepted(&self, stream: TcpStream) -> io::Result<LinkStream> {
        let Some(tls) = &self.tls else { return Ok(LinkStream::Plain(stream)) };
        let stream = tls.acceptor.accept(stream).await?;
        Ok(LinkStream::Tls(Box::new(TlsStream::Server(stream))))
    }
}

fn read_cookie(path: &Path) -> Result<Cookie, SecurityError> {
    use std::os::unix::fs::MetadataExt;
    let unreadable = |source| SecurityError::Cookie { path: path.to_path_buf(), source };
    let content = std::fs::read(path).map_err(unreadable)?;
    let mode = std::fs::metadata(path).map_err(unreadable)?.mode();
    if mode & 0o007 != 0 {
        return Err(SecurityError::OpenCookie { path: path.to_path_buf() });
    }
    Cookie::new(&content).ok_or_else(|| SecurityError::ShortCookie { path: path.to_path_buf() })
}

impl Tls {
    fn load(files: &TlsFiles) -> Result<Self, SecurityError> {
        let chain = certificates("cluster.tls-cert", &files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| pem("cluster.tls-key", &files.key, &error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for root in certificates("cluster.tls-ca", &files.ca)? {
            roots.add(root).map_err(|error| pem("cluster.tls-ca", &files.ca, &error.to_string()))?;
        }
        Self::new(chain, key, Arc::new(roots)).map_err(SecurityError::Tls)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Arc<RootCertStore>,
    ) -> Result<Self, String> {
        let text = |error: rustls::Error| error.to_string();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
        let accepting = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(text)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(text)?;
        let dialling = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(text)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(text)?;
        Ok(Self { acceptor: Arc::new(accepting).into(), connector: Arc::new(dialling).into() })
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| pem(setting, path, &error.to_string()))?;
    if read.is_empty() {
        return Err(pem(setting, path, "holds no certificate"));
    }
    Ok(read)
}

fn pem(setting: &'static str, path: &Path, cause: &str) -> SecurityError {
    SecurityError::Pem { setting, path: path.to_path_buf(), cause: cause.to_owned() }
}
