//! A connection between nodes, with or without TLS.

use std::{
    io,
    os::fd::AsFd as _,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::Handle,
};
use tokio_rustls::TlsStream;

/// Bytes in both directions, from a peer that has proved itself.
#[derive(Debug)]
pub enum LinkStream {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl LinkStream {
    /// Has the stream woken by this runtime from now on. A socket is watched by the runtime that it was made on; a task on
    /// another one would be woken across threads each time that bytes come.
    ///
    /// # Errors
    ///
    /// The operating system's, if the process has no more descriptors.
    pub fn move_to(&mut self, runtime: &Handle) -> io::Result<()> {
        let _within = runtime.enter();
        let socket = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => match stream.as_mut() {
                TlsStream::Client(stream) => stream.get_mut().0,
                TlsStream::Server(stream) => stream.get_mut().0,
            },
        };
        // The first descriptor closes, and is watched no more, as the second takes its place.
        let same = std::net::TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        *socket = TcpStream::from_std(same)?;
        Ok(())
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        runtime::{Builder, Runtime},
        time::timeout,
    };

    use super::{super::Security, LinkStream, TcpStream};
    use crate::config::node::{ClusterSettings, TlsFiles};

    const DEADLINE: Duration = Duration::from_secs(10);

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Two ends; the first is watched by the first runtime, that only stands still from now on.
    fn pair(first: &Runtime, second: &Runtime) -> (LinkStream, LinkStream) {
        let listener = first.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let dialling = TcpStream::connect(listener.local_addr().unwrap());
        let theirs = second.block_on(dialling).unwrap();
        let (ours, _) = first.block_on(listener.accept()).unwrap();
        (LinkStream::Plain(ours), LinkStream::Plain(theirs))
    }

    /// Files of a node that an authority of its own has signed.
    fn certified(dir: &Path) -> TlsFiles {
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut authority = CertificateParams::new(vec![]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::from_params(&authority, &ca_key);
        let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer);
        let put = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsFiles {
            cert: put("cert", cert.unwrap().pem()),
            key: put("key", key.serialize_pem()),
            ca: put("ca", authority.self_signed(&ca_key).unwrap().pem()),
        }
    }

    /// Both ends encrypt; both runtimes go on until that is agreed on.
    fn encrypted(first: &Runtime, second: &Runtime) -> (LinkStream, LinkStream) {
        let dir = tempfile::tempdir().unwrap();
        let tls = Some(certified(dir.path()));
        let security = Security::load(&ClusterSettings { tls, ..ClusterSettings::default() }).unwrap();
        let (ours, theirs) = pair(first, second);
        let (LinkStream::Plain(ours), LinkStream::Plain(theirs)) = (ours, theirs) else { unreachable!() };
        std::thread::scope(|scope| {
            let dialling = scope.spawn(|| second.block_on(security.wrap_dialled(theirs, "localhost")));
            let ours = first.block_on(security.wrap_accepted(ours)).unwrap();
            (ours, dialling.join().unwrap().unwrap())
        })
    }

    #[test]
    fn a_stream_that_has_moved_is_woken_by_its_new_runtime_alone() {
        for connect in [pair, encrypted] {
            let (stands_still, runs) = (runtime(), runtime());
            let (ours, theirs) = connect(&stands_still, &runs);
            moves(&stands_still, &runs, ours, theirs);
        }
    }

    fn moves(stands_still: &Runtime, runs: &Runtime, mut ours: LinkStream, mut theirs: LinkStream) {
        // It has been waited for where it was.
        let waited = stands_still.block_on(async { timeout(Duration::from_millis(1), ours.read_u8()).await });
        waited.unwrap_err();
        runs.block_on(async {
            theirs.write_all(b"before").await.unwrap();
            theirs.flush().await.unwrap();
        });
        ours.move_to(runs.handle()).unwrap();
        let mut came = [0; 6];
        let reading = async { timeout(DEADLINE, ours.read_exact(&mut came)).await };
        runs.block_on(reading).expect("what came before the move wakes nobody").unwrap();
        assert_eq!(&came, b"before");
        let (read, written) = runs.block_on(async {
            let later = async {
                tokio::task::yield_now().await;
                theirs.write_all(b"behind").await?;
                theirs.flush().await
            };
            tokio::join!(timeout(DEADLINE, ours.read_exact(&mut came)), later)
        });
        written.unwrap();
        read.expect("what comes behind the move wakes nobody").unwrap();
        assert_eq!(&came, b"behind");
        drop(ours);
        let ended = runs.block_on(async { timeout(DEADLINE, theirs.read_u8()).await });
        assert!(ended.expect("a descriptor is still open").is_err());
    }
}
