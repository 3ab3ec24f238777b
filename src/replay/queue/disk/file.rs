//! The queue's file on disk: made private, locked for one process (S28).

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How every SQLite file begins.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Why the queue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made or opened.
    #[error("the replay queue's file {} cannot be opened: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder of the file cannot be made.
    #[error("the replay queue's folder {} cannot be made: {source}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is something else in the file.
    #[error("the replay queue's file {} holds something else: it does not begin like an SQLite file", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("the replay queue's file {} is in use by another process", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The database in the file cannot be read or written.
    #[error("the replay queue in {} cannot be used: {source}", path.display())]
    Store {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// No thread could be started.
    #[error("the replay queue's thread cannot be started: {0}")]
    Thread(io::Error),
    /// The file was written by another version of this program, or is not a queue.
    #[error("the replay queue in {} has layout {found}; this program knows another", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The layout found.
        found: i64,
    },
}

/// The lock of a queue's file; freed when dropped, and by the system when the process dies.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// The file of that ending beside the queue's.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    beside.into()
}

/// Makes folder and file if need be, for the owner's eyes only, and takes the lock beside it.
pub(super) fn claim(path: &Path) -> Result<Lock, OpenError> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    fs::create_dir_all(folder).map_err(|source| OpenError::Folder {
        path: folder.into(),
        source,
    })?;
    let beside = beside(path, ".lock");
    let fault = |path: &Path| {
        let path = path.to_owned();
        |source| OpenError::File { path, source }
    };
    let lock = open(&beside).map_err(fault(&beside))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.into() }),
        Err(TryLockError::Error(source)) => return Err(fault(&beside)(source)),
    }
    let file = open(path).map_err(fault(path))?;
    if !is_ours(&file).map_err(fault(path))? {
        return Err(OpenError::Foreign { path: path.into() });
    }
    for file in [&lock, &file] {
        let private = Permissions::from_mode(0o600);
        file.set_permissions(private).map_err(fault(path))?;
    }
    Ok(Lock(lock))
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

/// Whether the file is new or SQLite's. It looks itself: SQLite takes a few foreign bytes for an
/// empty database and writes over them.
fn is_ours(file: &File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(HEADER.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == HEADER)
}
