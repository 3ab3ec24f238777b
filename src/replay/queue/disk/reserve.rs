//! Room that is kept taken beside the queue's file, and given up when the disk is full: to empty the log and to
//! delete records takes room before it makes some.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::file::beside;

/// Of the reserve: more than the log holds before it is moved into the file, and a large commit.
const BYTES: u64 = 32 << 20;
/// What must be left beside a reserve that is taken: room for the log.
const LEAST_BYTES: u64 = 16 << 20;
/// Taken in one go: records wait meanwhile.
const PIECE_BYTES: u64 = 4 << 20;
/// Of a file that is there already, looked at to tell whether it is a reserve.
const HEAD_BYTES: u64 = 4 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve(PathBuf);

impl Reserve {
    pub(super) fn of(path: &Path) -> Self {
        Self(beside(path, ".reserve"))
    }

    /// Takes all the room, unless it is taken.
    pub(super) fn take(&self) -> io::Result<()> {
        while !self.take_piece()? {}
        Ok(())
    }

    /// Takes some of the room that is not taken yet; whether all of it is.
    pub(super) fn take_piece(&self) -> io::Result<bool> {
        let there = self.there()?;
        let len = there.as_ref().map_or(0, |&(_, len)| len);
        if len == BYTES {
            return Ok(true);
        }
        if self
            .room()
            .is_some_and(|room| room < BYTES - len + LEAST_BYTES)
        {
            self.forget();
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = there.map_or_else(|| self.create(), |(file, _)| Ok(file))?;
        let piece = PIECE_BYTES.min(BYTES - len);
        fill(file, len, piece).inspect_err(|_| self.forget())?;
        Ok(len + piece == BYTES)
    }

    /// Gives the room up.
    pub(super) fn free(&self) {
        let freed = self
            .there()
            .and_then(|there| there.map_or(Ok(false), |_| fs::remove_file(&self.0).map(|()| true)));
        match freed {
            Ok(true) => {
                tracing::warn!(path = %self.0.display(), "the replay queue lives on its reserve");
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the replay queue's reserve cannot be freed"),
        }
    }

    /// The reserve as it is, and its length. Whatever else has its name is left alone.
    fn there(&self) -> io::Result<Option<(File, u64)>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true);
        let file = match options.custom_flags(no_links()).open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (about, mut head) = (file.metadata()?, Vec::new());
        let ours = about.is_file() && about.len() <= BYTES && {
            (&file).take(HEAD_BYTES).read_to_end(&mut head)?;
            head.iter().all(|&byte| byte == 0)
        };
        if !ours {
            let error = "the file of that name is no reserve";
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(Some((file, about.len())))
    }

    fn create(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.0)
    }

    /// Bytes that the disk has left, if it says so.
    fn room(&self) -> Option<u64> {
        let folder = self.0.parent().filter(|it| !it.as_os_str().is_empty());
        let disk = rustix::fs::statvfs(folder.unwrap_or_else(|| Path::new("."))).ok()?;
        (disk.f_blocks != 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Gives up what was taken of a reserve that does not get whole.
    fn forget(&self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Whether there was no room for it.
pub(super) fn is_short(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes zeros, since a file can be long and take no room.
fn fill(mut file: File, from: u64, bytes: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    file.sync_all()
}

fn no_links() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}
