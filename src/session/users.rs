//! Who may log in: a file of names and bcrypt hashes, and the checking of passwords.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// The largest file that is read.
const BYTES_MAX: u64 = 1 << 20;
/// The costliest hash: about four seconds of one core. Each step doubles it.
const COST_MAX: u32 = 16;
/// What a name that is not in the file is checked against: as slow as others, and never right.
const NOBODY: &str = "$2b$10$.....................................................";

/// The cost of hashes that we make: about 50 ms of one core, as Cassandra's.
const COST: u32 = 10;
/// What bcrypt takes of a password, in bytes; it passes over the rest.
const PASSWORD_MAX: usize = 72;

/// Why a file of users cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UserFault {
    /// It cannot be read.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A line is not a user.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        why: &'static str,
    },
}

/// The users of one file, which may be replaced while they are used.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    list: ArcSwap<List>,
    /// What was right of late: by name, the hash of a hash and a password.
    proven: Mutex<HashMap<String, [u8; 32]>>,
    /// One check at a time in the whole process: they cost a core.
    turn: Arc<Semaphore>,
}

#[derive(Debug)]
struct List {
    hashes: HashMap<String, Arc<str>>,
    stamp: Stamp,
}

/// When a file was last written, and how long it was.
type Stamp = Option<(SystemTime, u64)>;

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Users {}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// A [`UserFault`] that names the file, and the line.
    pub fn load(path: PathBuf) -> Result<Self, UserFault> {
        let list = List::load(&path)?;
        Ok(Self {
            path,
            list: ArcSwap::from_pointee(list),
            proven: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        })
    }

    /// The line of a file that makes somebody a user.
    ///
    /// # Errors
    /// Why the name or the password cannot be used.
    pub fn line(name: &str, password: &str) -> Result<String, &'static str> {
        if name.is_empty() || name.starts_with('#') || name.contains([':', '\n', '\r', '\0']) {
            return Err("a name is not empty, begins without #, and has no colon");
        }
        if password.is_empty() || PASSWORD_MAX < password.len() || password.contains('\0') {
            return Err("a password has 1 to 72 bytes");
        }
        let hash = bcrypt::hash(password, COST).map_err(|_fault| "no randomness is to be had")?;
        Ok(format!("{name}:{hash}"))
    }

    /// Which file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again if it changed; whether it did. After an error all is as before, and the
    /// next look tries it again.
    ///
    /// # Errors
    /// A [`UserFault`] that names the file, and the line.
    pub fn reload(&self) -> Result<bool, UserFault> {
        if self.list.load().stamp == stamp(&self.path) {
            return Ok(false);
        }
        self.list.store(Arc::new(List::load(&self.path)?));
        Ok(true)
    }

    /// Whether there is a user of this name and password. The first time it takes a core some
    /// 50 ms, on a thread of its own.
    pub async fn knows(&self, username: &str, password: String) -> bool {
        if self.was_proven(username, &password) {
            return true;
        }
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return false;
        };
        // Whoever waited for the same check is through with it.
        if self.was_proven(username, &password) {
            return true;
        }
        let hash = self.hash(username);
        let (against, is_user) = (hash.clone(), hash.is_some());
        let check = move || {
            let against = against.as_deref().unwrap_or(NOBODY);
            let is_right = bcrypt::verify(&password, against).unwrap_or(false);
            // Not before, also when whoever asked has left.
            drop(turn);
            (is_right, password)
        };
        let (is_right, password) = match tokio::task::spawn_blocking(check).await {
            Ok(checked) => checked,
            Err(error) => {
                tracing::error!(%error, "a password could not be checked");
                return false;
            }
        };
        let is_known = is_user && is_right;
        if let Some(hash) = hash.filter(|_| is_known) {
            let proof = proof(&hash, &password);
            self.proven().insert(username.to_owned(), proof);
        }
        is_known
    }

    fn was_proven(&self, username: &str, password: &str) -> bool {
        let Some(hash) = self.hash(username) else {
            return false;
        };
        self.proven().get(username) == Some(&proof(&hash, password))
    }

    fn hash(&self, username: &str) -> Option<Arc<str>> {
        self.list.load().hashes.get(username).map(Arc::clone)
    }

    fn proven(&self) -> std::sync::MutexGuard<'_, HashMap<String, [u8; 32]>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hash carries its own salt, so equal passwords do not look alike.
fn proof(hash: &str, password: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(hash.as_bytes());
    digest.update(password.as_bytes());
    digest.finalize().into()
}

fn stamp(path: &Path) -> Stamp {
    let seen = fs::metadata(path).ok()?;
    Some((seen.modified().ok()?, seen.len()))
}

impl List {
    fn load(path: &Path) -> Result<Self, UserFault> {
        // Before the content: a file that is replaced meanwhile is read once more.
        let stamp = stamp(path);
        let file = |why: String| UserFault::File {
            path: path.to_owned(),
            why,
        };
        if stamp.is_some_and(|(_, length)| BYTES_MAX < length) {
            return Err(file(format!("larger than {BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
        let mut hashes = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fault = |why| UserFault::Line {
                path: path.to_owned(),
                line: at + 1,
                why,
            };
            let (name, hash) = user(line).map_err(fault)?;
            if hashes.insert(name.to_owned(), Arc::from(hash)).is_some() {
                return Err(fault("this user was listed before"));
            }
        }
        if hashes.is_empty() {
            return Err(file("nobody is listed".to_owned()));
        }
        Ok(Self { hashes, stamp })
    }
}

/// `name:hash`.
fn user(line: &str) -> Result<(&str, &str), &'static str> {
    const NO_HASH: &str = "expected name:hash with a bcrypt hash, as htpasswd -B writes it";
    let (name, hash) = line.split_once(':').ok_or(NO_HASH)?;
    if name.is_empty() {
        return Err("a user needs a name");
    }
    let parts: bcrypt::HashParts = hash.parse().map_err(|_fault| NO_HASH)?;
    if COST_MAX < parts.get_cost() {
        return Err("a cost above 16 would block logins for seconds");
    }
    Ok((name, hash))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    /// The lowest cost: these tests are about names, not about time.
    fn line(name: &str, password: &str) -> String {
        format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
    }

    fn file(folder: &TempDir, text: &str) -> PathBuf {
        let path = folder.path().join("users");
        fs::write(&path, text).unwrap();
        path
    }

    async fn knows(users: &Users, name: &str, password: &str) -> bool {
        users.knows(name, password.to_owned()).await
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_user_is_right() {
        let folder = TempDir::new().unwrap();
        let text = format!("# ours\n\n{}{}", line("tom", "secret"), line("eve", ""));
        let users = Users::load(file(&folder, &text)).unwrap();
        for _again in 0..2 {
            assert!(knows(&users, "tom", "secret").await);
            assert!(knows(&users, "eve", "").await);
            for (name, password) in [
                ("tom", ""),
                ("tom", "Secret"),
                ("eve", "secret"),
                ("", ""),
                ("bob", "secret"),
            ] {
                assert!(!knows(&users, name, password).await, "{name} {password}");
            }
        }
    }

    #[tokio::test]
    async fn hashes_of_other_tools_are_understood() {
        // $2a$ is Cassandra's, $2y$ that of htpasswd.
        let folder = TempDir::new().unwrap();
        let hash = bcrypt::hash_with_result("secret", 4).unwrap();
        for version in [
            bcrypt::Version::TwoA,
            bcrypt::Version::TwoB,
            bcrypt::Version::TwoY,
        ] {
            let text = format!("tom:{}\n", hash.format_for_version(version));
            let users = Users::load(file(&folder, &text)).unwrap();
            assert!(knows(&users, "tom", "secret").await);
        }
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_anew_and_a_broken_one_is_not() {
        let folder = TempDir::new().unwrap();
        let users = Users::load(file(&folder, &line("tom", "old"))).unwrap();
        assert!(knows(&users, "tom", "old").await);
        assert_eq!(users.reload(), Ok(false));

        file(
            &folder,
            "tom:nonsense, longer than before so that the file differs, and not a hash at all",
        );
        assert!(users.reload().is_err());
        assert!(knows(&users, "tom", "old").await);

        tokio::time::sleep(Duration::from_millis(20)).await;
        file(&folder, &line("tom", "new"));
        assert_eq!(users.reload(), Ok(true));
        assert!(knows(&users, "tom", "new").await);
        assert!(
            !knows(&users, "tom", "old").await,
            "what was proven is forgotten with its hash"
        );
    }

    #[test]
    fn a_fault_names_its_line() {
        let folder = TempDir::new().unwrap();
        let good = line("tom", "x");
        for (text, at) in [
            (format!("{good}plain\n"), 2),
            (format!("{good}eve:plain\n"), 2),
            (format!("{good}eve:$2b$10$short\n"), 2),
            (format!("# x\n{good}{good}"), 3),
            (format!(":{good}"), 1),
            (good.replace("$04$", "$31$"), 1),
        ] {
            match Users::load(file(&folder, &text)) {
                Err(UserFault::Line { line, .. }) => assert_eq!(line, at, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(Users::load(file(&folder, "# nobody\n")).is_err());
        assert!(Users::load(folder.path().join("absent")).is_err());
    }

    #[tokio::test]
    async fn the_line_that_we_make_is_read() {
        let folder = TempDir::new().unwrap();
        let made = Users::line("tom", "let tom: in").unwrap();
        let users = Users::load(file(&folder, &made)).unwrap();
        assert!(knows(&users, "tom", "let tom: in").await);
        for (name, password) in [
            ("", "x"),
            ("#a", "x"),
            ("a:b", "x"),
            ("a\n", "x"),
            ("a", ""),
        ] {
            assert!(Users::line(name, password).is_err(), "{name}");
        }
        assert!(Users::line("a", &"x".repeat(73)).is_err());
    }

    #[test]
    fn nobody_has_a_hash_that_can_be_checked() {
        assert!(!bcrypt::verify("", NOBODY).unwrap());
        assert_eq!(NOBODY.parse::<bcrypt::HashParts>().unwrap().get_cost(), 10);
    }
}
