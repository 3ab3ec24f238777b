//! Who clients are to the proxy, and who the proxy is to the clusters.

use std::path::Path;
use std::sync::Arc;

use crate::cluster::{Account, Kept};
use crate::session::Users;

use super::build::path;
use super::host::Host;
use super::read::Reader;
use super::redact::plain;

/// The most bytes of a password.
const PASSWORD_MAX: usize = 4_096;

/// Who may log in at the proxy; `None` where nobody has to, or a fault was noted.
pub(super) fn users(r: &mut Reader) -> Option<Arc<Users>> {
    let modes = [("service", Some(())), ("passthrough", None)];
    let said_mode = r.has("auth.mode");
    r.choice("auth.mode", (), &modes);
    let file = r.text("auth.users", path);
    if !r.has("auth") || !r.is_sound("auth") {
        return None;
    }
    let Some(file) = file.filter(|_| said_mode) else {
        r.fault(
            "auth",
            "mode: service and users, the file of names and hashes, are needed",
        );
        return None;
    };
    match Users::load(file) {
        Ok(users) => Some(Arc::new(users)),
        Err(fault) => {
            r.fault("auth.users", fault.to_string());
            None
        }
    }
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
    if !r.has("auth") {
        let text = "with a service account clients must log in at the proxy (auth.mode: service): \
                    passing their own credentials on is not supported yet";
        r.fault(section, text);
    }
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

    fn users(folder: &TempDir) -> std::path::PathBuf {
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
            assert_eq!(config.users.as_ref().map(|it| it.path()), Some(&*users));

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
    fn an_account_that_everybody_would_share_unasked_is_a_fault() {
        let account = "{ username: helix, password_env: PASSWORD }";
        let faults = read(&text(account, None)).expect_err("a fault");
        let found: Vec<_> = faults.iter().map(|it| &*it.key).collect();
        assert_eq!(found, ["clusters.a.auth"]);
    }
}
