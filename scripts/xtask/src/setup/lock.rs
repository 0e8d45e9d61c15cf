//! One set-up at a time, so that two runs side by side do not write the same files.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::failure::{Failure, Result};
use crate::files;

/// Holds the lock until dropped; the system frees it when the process ends, however it ends.
pub struct Lock {
    _file: File,
}

/// Takes the lock of a directory, waiting for another run and saying so.
pub fn take(directory: &Path) -> Result<Lock> {
    files::create_dir(directory)?;
    let path = directory.join("lock");
    let file = File::create(&path).map_err(|e| Failure::file("create", &path, &e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            println!("waiting for another set-up to finish (it holds {})", path.display());
            file.lock().map_err(|e| Failure::file("lock", &path, &e))?;
        }
        Err(TryLockError::Error(e)) => return Err(Failure::file("lock", &path, &e)),
    }
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_holder_waits_for_the_first() {
        let dir = std::env::temp_dir().join(format!("xtask-lock-{}", std::process::id()));
        let first = take(&dir).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let second = std::thread::spawn({
            let dir = dir.clone();
            move || {
                let lock = take(&dir).unwrap();
                sender.send(()).unwrap();
                drop(lock);
            }
        });
        let early = receiver.recv_timeout(std::time::Duration::from_millis(100));
        assert!(early.is_err(), "the lock was given twice");
        drop(first);
        second.join().unwrap();
        files::remove_dir(&dir).unwrap();
    }
}
