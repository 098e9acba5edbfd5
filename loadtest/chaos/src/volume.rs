//! Volumes of bounded size under the data of Postgres and the brokers, so that they can be full: each an ext4 file system
//! in a sparse file, mounted through a loop device. That takes root on Linux; elsewhere nothing is laid, and what needs a
//! full volume is not run.

use crate::Failure;
use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Far more than a run writes: a volume is full when it is filled.
const SIZE: u64 = 12 << 30;
/// Few files are made there; tables for many more would be written at once.
const FILES: &str = "65536";
/// Pieces by which a volume is filled, in bytes, down to one block.
const PIECES: [u64; 5] = [1 << 30, 1 << 26, 1 << 22, 1 << 18, 1 << 12];

/// Whose data lies on a volume, and the folders of the instance that lead there.
const PARTS: [(&str, &[&str]); 2] =
    [("postgres", &["postgres"]), ("brokers", &["kafka1", "kafka2", "kafka3"])];

/// The volumes of an instance that lives in `home`.
#[derive(Debug, Clone)]
pub(crate) struct Volumes {
    home: PathBuf,
}

impl Volumes {
    /// Makes them in an instance's folder before its first start. Nothing where this user may not mount.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub(crate) fn lay(home: &Path) -> Result<Option<Self>, Failure> {
        let volumes = Self { home: home.to_owned() };
        for (name, folders) in PARTS {
            let mount = volumes.of(name);
            fs::create_dir_all(&mount)?;
            if let Err(why) = make(&mount.with_extension("img"), &mount) {
                println!("no volumes of bounded size ({why}): none will be full");
                volumes.take_away()?;
                return Ok(None);
            }
            for folder in folders {
                let data = mount.join("data").join(folder);
                // the folder of Postgres is made by its own start, for the user that it runs as
                if name == "postgres" {
                    fs::create_dir_all(mount.join("data"))?;
                } else {
                    fs::create_dir_all(&data)?;
                }
                symlink(&data, home.join(folder))?;
            }
        }
        Ok(Some(volumes))
    }

    /// Unmounts what an instance in `home` has mounted, if it has.
    ///
    /// # Errors
    /// When something still works there.
    pub(crate) fn take_away_from(home: &Path) -> Result<(), Failure> {
        Self { home: home.to_owned() }.take_away()
    }

    fn take_away(&self) -> Result<(), Failure> {
        let mounted = fs::read_to_string("/proc/mounts").unwrap_or_default();
        for (name, _) in PARTS {
            let mount = self.of(name);
            if mounted.contains(&format!(" {} ", mount.display())) {
                run("umount", &[mount.as_os_str()])?;
            }
        }
        Ok(())
    }

    /// Leaves no block free: whoever writes there next is told that the device is full.
    ///
    /// # Errors
    /// When the ballast cannot be written at all.
    pub(crate) fn fill(&self, name: &str) -> Result<(), Failure> {
        let ballast = self.ballast(name);
        fs::create_dir_all(&ballast)?;
        for piece in PIECES {
            for n in 0..SIZE / piece {
                let file = ballast.join(format!("{piece}-{n}"));
                let length = piece.to_string();
                if run("fallocate", &["-l".as_ref(), length.as_ref(), file.as_os_str()]).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When the ballast cannot be deleted.
    pub(crate) fn empty(&self, name: &str) -> Result<(), Failure> {
        Ok(fs::remove_dir_all(self.ballast(name))?)
    }

    fn of(&self, name: &str) -> PathBuf {
        self.home.join("volumes").join(name)
    }

    fn ballast(&self, name: &str) -> PathBuf {
        self.of(name).join("ballast")
    }
}

fn make(image: &Path, mount: &Path) -> Result<(), Failure> {
    File::create(image)?.set_len(SIZE)?;
    let format = ["-q", "-m", "0", "-N", FILES].map(AsRef::as_ref);
    run("mkfs.ext4", &[&format[..], &[image.as_os_str()]].concat())?;
    run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), mount.as_os_str()])
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<(), Failure> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
