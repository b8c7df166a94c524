//! The file of a recording, to which lines are appended.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// The file of one call.
#[derive(Debug)]
pub struct RecordingFile {
    file: File,
    length: u64,
}

impl RecordingFile {
    /// Creates a file that only its owner can read and write, and locks the file.
    ///
    /// # Errors
    ///
    /// The file exists already, or it cannot be created. A failed lock is not an error, because
    /// some file systems have no locks.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        // Windows does not delete open files, so the lock is not needed there.
        #[cfg(unix)]
        let _ = file.try_lock();
        Ok(Self { file, length: 0 })
    }

    /// Appends all bytes. If writing fails, the bytes that were written are removed again.
    ///
    /// # Errors
    ///
    /// The bytes cannot be written, for example because the disk is full.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // If the file cannot be shortened either, its last line is incomplete.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bytes_are_appended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("call.jsonl");
        let mut file = RecordingFile::create(&path).expect("a new file");
        file.append(b"one\n").expect("written");
        file.append(b"two\n").expect("written");
        assert_eq!(fs::read(&path).expect("readable"), b"one\ntwo\n");
    }

    #[test]
    fn an_existing_file_is_not_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("call.jsonl");
        fs::write(&path, b"kept").expect("written");
        let error = RecordingFile::create(&path).expect_err("exists");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("readable"), b"kept");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("call.jsonl");
        RecordingFile::create(&path).expect("a new file");
        let mode = fs::metadata(&path).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_locked_until_it_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("call.jsonl");
        let file = RecordingFile::create(&path).expect("a new file");
        let other = File::open(&path).expect("readable");
        assert!(other.try_lock().is_err());
        drop(file);
        assert!(other.try_lock().is_ok());
    }
}
