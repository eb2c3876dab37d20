//! Who is let in.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use polylogue::{
    actors::cluster_link::{LinkError, RefusalCode, Security},
    config::node::{ClusterSettings, HostPort},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::{
    here::{Here, test},
    peer::{Orders, OtherNode, security},
};

const SHORT: Duration = Duration::from_secs(2);

fn cookie_file(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn with_the_same_cookie_nodes_connect_and_with_another_they_are_told() {
    test(async {
        let dir = TempDir::new().unwrap();
        let right = cookie_file(dir.path(), "right", "correct horse battery\n");
        let wrong = cookie_file(dir.path(), "wrong", "correct horse batterz\n");
        let orders = Orders { node: 2, cookie_file: Some(right.clone()), ..Orders::default() };
        let there = OtherNode::start_with(orders);
        let here = Here::start(1, security(Some(right), None)).await;
        here.link.want(there.address());
        here.connected(2).await;
        assert!(here.echo(there.node()).await);
        here.stop().await;
        for (stranger, code) in [
            (security(Some(wrong), None), RefusalCode::WrongCookie),
            (Security::default(), RefusalCode::OneCookie),
        ] {
            let here = Here::start(3, stranger).await;
            let refused = here.link.hello(&there.address(), b"", SHORT).await.unwrap_err();
            assert_eq!(refused.refusal(), Some(code), "{refused}");
            here.stop().await;
        }
    });
}

#[test]
fn without_cookie_and_certificates_no_other_machine_is_dialled() {
    test(async {
        let here = Here::start(1, Security::default()).await;
        let elsewhere = HostPort::new("192.0.2.1", 7092);
        let refused = here.link.hello(&elsewhere, b"", SHORT).await;
        assert!(matches!(refused, Err(LinkError::LoopbackOnly { .. })), "{refused:?}");
        here.stop().await;
    });
}

/// An authority, and the files of nodes that it has signed.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    ca: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = dir.join(format!("{name}-ca.pem"));
        fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { params, key, ca }
    }

    /// Certificate, key and authority for a node that is dialled as this host.
    fn files(&self, dir: &Path, name: &str, host: &str) -> [PathBuf; 3] {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer);
        let [cert_file, key_file] = ["cert", "key"].map(|what| dir.join(format!("{name}-{what}.pem")));
        fs::write(&cert_file, certificate.unwrap().pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        [cert_file, key_file, self.ca.clone()]
    }
}

#[test]
fn with_certificates_of_one_authority_nodes_connect_and_others_do_not() {
    test(async {
        let dir = TempDir::new().unwrap();
        let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
        let files = ours.files(dir.path(), "two", "127.0.0.1");
        let there = OtherNode::start_with(Orders { node: 2, tls: Some(files), ..Orders::default() });
        let here = Here::start(1, security(None, Some(ours.files(dir.path(), "one", "127.0.0.1")))).await;
        here.link.want(there.address());
        here.connected(2).await;
        assert!(here.echo(there.node()).await);
        here.stop().await;
        let strangers = [
            ("a foreign authority", security(None, Some(theirs.files(dir.path(), "three", "127.0.0.1")))),
            ("no certificates", Security::default()),
        ];
        for (what, stranger) in strangers {
            let here = Here::start(3, stranger).await;
            assert!(here.link.hello(&there.address(), b"", SHORT).await.is_err(), "{what}");
            here.stop().await;
        }
        // Known to the authority, and not the host that was dialled.
        let misplaced = ours.files(dir.path(), "four", "elsewhere.example");
        let there = OtherNode::start_with(Orders { node: 4, tls: Some(misplaced), ..Orders::default() });
        let here = Here::start(1, security(None, Some(ours.files(dir.path(), "one", "127.0.0.1")))).await;
        let refused = here.link.hello(&there.address(), b"", SHORT).await;
        assert!(matches!(refused, Err(LinkError::Tls { .. })), "{refused:?}");
        here.stop().await;
    });
}

#[test]
fn a_cookie_that_others_can_read_or_guess_is_refused() {
    let dir = TempDir::new().unwrap();
    let load = |path: PathBuf| {
        let settings = ClusterSettings { cookie_file: Some(path), ..ClusterSettings::default() };
        Security::load(&settings).map(drop).map_err(|error| error.to_string())
    };
    let open = cookie_file(dir.path(), "open", "correct horse battery");
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    assert!(load(open).unwrap_err().contains("chmod"));
    assert!(load(cookie_file(dir.path(), "short", "secret")).unwrap_err().contains("openssl rand"));
    assert!(load(dir.path().join("none")).is_err());
    assert_eq!(load(cookie_file(dir.path(), "good", "correct horse battery")), Ok(()));
}
