//! Handshakes over loopback: who is let in, who is not, and certificates that change.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// An authority and the files that it signs.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = TempDir::new().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for this host, valid until the end of this year.
    fn sign(&self, host: &str, until: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_path, key_path) = (self.path("cert.pem"), self.path("key.pem"));
        fs::write(&cert_path, certificate.pem()).unwrap();
        fs::write(&key_path, key.serialize_pem()).unwrap();
        Identity {
            cert: cert_path,
            key: key_path,
        }
    }

    fn server(&self, host: &str) -> Server {
        Server::load(ServerFiles {
            identity: self.sign(host, 4000),
            client_ca: None,
        })
        .unwrap()
    }

    fn client(&self, identity: Option<Identity>, verify_hostname: bool) -> Client {
        Client::load(ClientFiles {
            ca: self.path("ca.pem"),
            identity,
            verify_hostname,
            names: Vec::new(),
        })
        .unwrap()
    }

    /// A client that knows contact points of these names.
    fn client_of(&self, names: &[&str]) -> Client {
        Client::load(ClientFiles {
            ca: self.path("ca.pem"),
            identity: None,
            verify_hostname: true,
            names: names.iter().map(|it| (*it).to_owned()).collect(),
        })
        .unwrap()
    }
}

/// What the client reads of what the server writes, or why not.
async fn told(server: &Server, client: &Client, host: &str) -> Result<Vec<u8>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = server.accept(stream).await.map_err(|e| e.to_string())?;
        let mut asked = [0; 5];
        stream
            .read_exact(&mut asked)
            .await
            .map_err(|e| e.to_string())?;
        stream.write_all(&asked.repeat(10_000)).await.unwrap();
        stream.shutdown().await.map_err(|e| e.to_string())
    };
    let asking = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = client
            .connect(host, stream)
            .await
            .map_err(|e| e.to_string())?;
        stream
            .write_all(b"hello")
            .await
            .map_err(|e| e.to_string())?;
        let mut read = Vec::new();
        stream
            .read_to_end(&mut read)
            .await
            .map_err(|e| e.to_string())?;
        Ok(read)
    };
    let (served, read) = tokio::join!(serving, asking);
    // With TLS 1.3 a client hears that it was refused only when it reads.
    served.and(read)
}

#[tokio::test]
async fn what_is_sent_arrives() {
    let authority = Authority::new();
    let (server, client) = (authority.server("db.example"), authority.client(None, true));
    let read = told(&server, &client, "db.example").await.unwrap();
    assert_eq!(read, b"hello".repeat(10_000));
    let by_address = authority.server("127.0.0.1");
    assert!(told(&by_address, &client, "127.0.0.1").await.is_ok());
}

#[tokio::test]
async fn a_node_of_another_name_is_refused_unless_names_do_not_matter() {
    let authority = Authority::new();
    let server = authority.server("db.example");
    let error = told(&server, &authority.client(None, true), "other.example").await;
    assert!(error.is_err(), "{error:?}");
    let any_name = authority.client(None, false);
    assert!(told(&server, &any_name, "other.example").await.is_ok());
}

#[tokio::test]
async fn behind_an_address_the_name_of_a_contact_point_does_too_and_nothing_else() {
    let authority = Authority::new();
    let client = authority.client_of(&["seed.example", "db.example", "127.0.0.2", "no name"]);
    let server = authority.server("db.example");
    assert!(told(&server, &client, "127.0.0.1").await.is_ok());
    assert!(told(&server, &client, "db.example").await.is_ok());
    let error = told(&server, &client, "seed.example").await;
    assert!(error.is_err(), "a name that was dialled must be shown");
    let error = told(&server, &client, "127.0.0.2").await;
    assert!(error.is_err(), "so must an address that is a contact point");
    let error = told(&server, &authority.client(None, true), "127.0.0.1").await;
    assert!(error.is_err(), "{error:?}");
    for shown in ["other.example", "127.0.0.2"] {
        let error = told(&authority.server(shown), &client, "127.0.0.1").await;
        assert!(error.is_err(), "{shown}");
    }
    let stranger = Authority::new().server("db.example");
    assert!(told(&stranger, &client, "127.0.0.1").await.is_err());
}

#[tokio::test]
async fn a_node_of_another_authority_is_refused_always() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = stranger.server("db.example");
    for verify_hostname in [true, false] {
        let client = authority.client(None, verify_hostname);
        let error = told(&server, &client, "db.example").await;
        assert!(error.is_err(), "{error:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused_always() {
    let authority = Authority::new();
    let identity = authority.sign("db.example", 2021);
    let files = ServerFiles {
        identity,
        client_ca: None,
    };
    let server = Server::load(files).unwrap();
    for verify_hostname in [true, false] {
        let client = authority.client(None, verify_hostname);
        let error = told(&server, &client, "db.example").await.unwrap_err();
        assert!(error.to_lowercase().contains("expired"), "{error}");
    }
}

#[tokio::test]
async fn a_client_has_to_show_a_certificate_where_an_authority_of_clients_is_named() {
    let (nodes, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let server = Server::load(ServerFiles {
        identity: nodes.sign("db.example", 4000),
        client_ca: Some(clients.path("ca.pem")),
    })
    .unwrap();
    let known = nodes.client(Some(clients.sign("app", 4000)), true);
    assert!(told(&server, &known, "db.example").await.is_ok());
    let unknown = nodes.client(Some(strangers.sign("app", 4000)), true);
    for refused in [nodes.client(None, true), unknown] {
        let error = told(&server, &refused, "db.example").await;
        assert!(error.is_err(), "{error:?}");
    }
}

#[tokio::test]
async fn files_that_change_are_used_for_the_next_connection() {
    let authority = Authority::new();
    let server = authority.server("old.example");
    let client = authority.client(None, true);
    assert!(!server.reload().unwrap(), "nothing has changed");

    fs::write(authority.path("cert.pem"), "half a file").unwrap();
    let fault = server.reload().unwrap_err().to_string();
    assert!(fault.contains("cert.pem"), "{fault}");
    assert!(told(&server, &client, "old.example").await.is_ok());

    authority.sign("new.example", 4000);
    assert!(server.reload().unwrap());
    assert!(told(&server, &client, "new.example").await.is_ok());
    assert!(told(&server, &client, "old.example").await.is_err());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let Identity { cert, key } = authority.sign("db.example", 4000);
    let other = Authority::new().sign("db.example", 4000);
    let load = |cert: &PathBuf, key: &PathBuf| {
        let identity = Identity {
            cert: cert.clone(),
            key: key.clone(),
        };
        let files = ServerFiles {
            identity,
            client_ca: None,
        };
        Server::load(files)
            .map(drop)
            .map_err(|fault| fault.to_string())
    };
    assert_eq!(load(&cert, &key), Ok(()));
    let absent = authority.path("absent.pem");
    for (cert, key, named) in [
        (&absent, &key, "absent.pem"),
        (&cert, &absent, "absent.pem"),
        (&key, &key, "no certificate"),
        (&cert, &cert, "cert.pem"),
        (&cert, &other.key, "key.pem"),
    ] {
        let fault = load(cert, key).unwrap_err();
        assert!(fault.contains(named), "{fault}");
    }
}

/// Files that change once and then can be read or not.
struct Flaky {
    number: Cell<u64>,
    is_readable: Cell<bool>,
}

impl Files for Flaky {
    type Config = u64;

    fn stamp(&self) -> Stamp {
        vec![Some((std::time::SystemTime::UNIX_EPOCH, self.number.get()))]
    }

    fn load(&self) -> Result<Loaded<u64>, Fault> {
        if !self.is_readable.get() {
            return Err(Fault::of(
                std::path::Path::new("cert.pem"),
                "permission denied",
            ));
        }
        Ok(Loaded {
            config: Arc::new(self.number.get()),
            stamp: self.stamp(),
        })
    }
}

#[test]
fn files_that_could_not_be_read_are_read_once_they_can() {
    let end = End::load(Flaky {
        number: Cell::new(1),
        is_readable: Cell::new(true),
    })
    .unwrap();
    end.files.number.set(2);
    end.files.is_readable.set(false);
    assert!(end.reload().is_err());
    assert_eq!(*end.loaded.load().config, 1);
    // Neither the time nor the length of a file tells that its mode has changed.
    end.files.is_readable.set(true);
    assert!(end.reload().unwrap());
    assert_eq!(*end.loaded.load().config, 2);
    assert!(!end.reload().unwrap());
}
