//! Who clients are to the proxy, and who the proxy is to the clusters.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cluster::{Account, Kept};
use crate::session::{Door, Users};

use super::build::path;
use super::host::Host;
use super::read::Reader;
use super::redact::plain;

/// The most bytes of a password.
const PASSWORD_MAX: usize = 4_096;

/// How clients log in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Passthrough,
    Service,
}

/// Who may log in, and as whom; whoever connects where nobody has to, or a fault was noted.
pub(super) fn door(r: &mut Reader) -> Door {
    let modes = [
        ("service", Some(Mode::Service)),
        ("passthrough", Some(Mode::Passthrough)),
    ];
    let mode = r.choice("auth.mode", Mode::Passthrough, &modes);
    let file = r.text("auth.users", path);
    let accounts = ["clusters.a.auth", "clusters.b.auth"];
    let is_wanted = r.has("auth") || accounts.iter().any(|it| r.has(it));
    if !is_wanted || !r.is_sound("auth") {
        return Door::Open;
    }
    match (mode, file) {
        (Mode::Service, Some(file)) => users(r, file),
        (Mode::Service, None) => {
            r.fault(
                "auth",
                "mode: service needs users, the file of names and hashes",
            );
            Door::Open
        }
        (Mode::Passthrough, Some(_)) => {
            r.fault(
                "auth.users",
                "belongs to mode: service; with passthrough, the default, the clusters know their users",
            );
            Door::Open
        }
        (Mode::Passthrough, None) => passthrough(r, accounts),
    }
}

fn users(r: &mut Reader, file: PathBuf) -> Door {
    match Users::load(file) {
        Ok(users) => Door::Users(Arc::new(users)),
        Err(fault) => {
            r.fault("auth.users", fault.to_string());
            Door::Open
        }
    }
}

/// Replay and the control connections are nobody's: they need accounts of their own.
fn passthrough(r: &mut Reader, accounts: [&str; 2]) -> Door {
    let mut door = Door::Clusters;
    for (cluster, account) in ["clusters.a", "clusters.b"].into_iter().zip(accounts) {
        if r.has(cluster) && !r.has(account) {
            let text = "is needed with auth.mode: passthrough, the default where a cluster wants \
                        credentials: replay and the proxy's own questions log in with it";
            r.fault(account, text);
            door = Door::Open;
        }
    }
    door
}

/// The service account of a cluster; `None` where there is none, or a fault was noted.
pub(super) fn account(r: &mut Reader, section: &str, host: &Host) -> Option<Account> {
    let key = |word: &str| format!("{section}.{word}");
    let username = r.text(&key("username"), name);
    let variable = r.text(&key("password_env"), name);
    let file = r.text(&key("password_file"), path);
    if !r.has(section) || !r.is_sound(section) {
        return None;
    }
    let (word, found, kept) = match (variable, file) {
        (Some(name), None) => (
            "password_env",
            of_variable(host, &name),
            Kept::Variable(name),
        ),
        (None, Some(file)) => ("password_file", of_file(&file), Kept::File(file)),
        _ => {
            let text = "password_env or password_file is needed, and not both";
            r.fault(section, text);
            return None;
        }
    };
    let password = found.map_err(|why| r.fault(&key(word), why)).ok()?;
    let Some(username) = username else {
        r.fault(section, "username is needed");
        return None;
    };
    Some(Account {
        username,
        password,
        kept,
    })
}

fn of_variable(host: &Host, name: &str) -> Result<String, String> {
    let value = (host.variable)(name);
    let value = value.ok_or_else(|| format!("the environment has no {}", plain(name)))?;
    sound(&value)
}

fn of_file(path: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    sound(text.strip_suffix('\r').unwrap_or(text))
}

fn sound(password: &str) -> Result<String, String> {
    let fits = !password.is_empty() && password.len() <= PASSWORD_MAX && !password.contains('\0');
    fits.then(|| password.to_owned())
        .ok_or_else(|| format!("expected a password of at most {PASSWORD_MAX} bytes"))
}

fn name(text: &str) -> Result<String, &'static str> {
    let fits = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
        .ok_or("expected a name of at most 256 characters")
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::tests::read;
    use super::*;

    /// A file with this account of A, and its users where clients log in.
    fn text(account: &str, users: Option<&Path>) -> String {
        let auth =
            users.map(|path| format!("auth: {{ mode: service, users: {} }}", path.display()));
        let clusters = format!("clusters: {{ a: {{ contact_points: [a], auth: {account} }} }}");
        format!("{clusters}\n{}\n", auth.unwrap_or_default())
    }

    fn users(folder: &TempDir) -> PathBuf {
        let path = folder.path().join("users");
        let hash = bcrypt::hash("x", 4).expect("a hash");
        std::fs::write(&path, format!("tom:{hash}\n")).expect("written");
        path
    }

    #[test]
    fn a_password_comes_from_the_environment_or_a_file_and_is_never_shown() {
        let folder = TempDir::new().expect("a folder");
        let (users, file) = (users(&folder), folder.path().join("password"));
        std::fs::write(&file, "hunter2\r\n").expect("written");
        let of_file = format!("{{ username: helix, password_file: {} }}", file.display());
        for account in ["{ username: helix, password_env: PASSWORD }", &of_file] {
            let config = read(&text(account, Some(&users))).unwrap_or_else(|f| panic!("{f}"));
            let found = config.clusters.a.account.as_ref().expect("an account");
            assert_eq!((&*found.username, &*found.password), ("helix", "hunter2"));
            assert_eq!(config.door.users().map(|it| it.path()), Some(&*users));

            let summary = config.summary();
            assert!(!summary.contains("hunter2") && !format!("{config:?}").contains("hunter2"));
            assert_eq!(read(&summary).as_ref(), Ok(&config), "{summary}");
        }
    }

    #[test]
    fn what_an_account_lacks_is_told() {
        let folder = TempDir::new().expect("a folder");
        let users = users(&folder);
        let both = "password_env or password_file is needed, and not both";
        for (account, key, expected) in [
            ("{ username: helix }", "clusters.a.auth", both),
            (
                "{ username: helix, password_env: PASSWORD, password_file: x }",
                "clusters.a.auth",
                both,
            ),
            (
                "{ password_env: PASSWORD }",
                "clusters.a.auth",
                "username is needed",
            ),
            (
                "{ username: helix, password_env: OTHER }",
                "clusters.a.auth.password_env",
                "the environment has no OTHER",
            ),
            (
                "{ username: helix, password_file: absent }",
                "clusters.a.auth.password_file",
                "absent: No such file or directory (os error 2)",
            ),
        ] {
            let faults = read(&text(account, Some(&users))).expect_err("a fault");
            let found: Vec<_> = faults.iter().map(|it| (&*it.key, &*it.text)).collect();
            assert_eq!(found, [(key, expected)]);
        }
    }

    #[test]
    fn where_a_cluster_wants_credentials_clients_log_in_there_unless_it_is_said_otherwise() {
        let account = "{ username: helix, password_env: PASSWORD }";
        for said in ["", "auth: { mode: passthrough }"] {
            let config = read(&format!("{}{said}", text(account, None))).expect("a configuration");
            assert_eq!(config.door, Door::Clusters);
            assert!(config.dispatch.passthrough);
            let summary = config.summary();
            assert!(
                summary.contains("auth:\n  mode: passthrough\n"),
                "{summary}"
            );
            assert_eq!(read(&summary).as_ref(), Ok(&config), "{summary}");
        }
        let open = read("clusters: { a: { contact_points: [a] } }").expect("a configuration");
        assert_eq!(open.door, Door::Open);
        assert!(!open.dispatch.passthrough);
    }

    #[test]
    fn passthrough_needs_the_service_account_of_each_cluster() {
        let account = "auth: { username: helix, password_env: PASSWORD }";
        let of = |a: &str, b: &str, auth: &str| {
            let a = format!("a: {{ contact_points: [a], {a} }}");
            let b = format!("b: {{ contact_points: [b], {b} }}");
            read(&format!("clusters: {{ {a}, {b} }}\n{auth}\n"))
        };
        let faults = |found: Result<crate::config::Config, crate::config::Faults>| {
            let faults = found.expect_err("a fault");
            faults.iter().map(|it| it.key.clone()).collect::<Vec<_>>()
        };
        assert!(of(account, account, "").is_ok());
        assert_eq!(faults(of(account, "", "")), ["clusters.b.auth"]);
        assert_eq!(faults(of("", account, "")), ["clusters.a.auth"]);
        let said = "auth: { mode: passthrough }";
        let both = ["clusters.a.auth", "clusters.b.auth"];
        assert_eq!(faults(of("", "", said)), both);
        // As all are the service account, the other cluster may be one that asks nobody.
        let folder = TempDir::new().expect("a folder");
        let users = users(&folder);
        let service = format!("auth: {{ mode: service, users: {} }}", users.display());
        assert!(of(account, "", &service).is_ok());
    }
}
